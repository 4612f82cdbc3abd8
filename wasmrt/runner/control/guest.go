package control

// Guest is what is known of the guest of a container: how it serves, what starting it costs here, and how it failed.
type Guest struct {
	ABI         string      `json:"abi,omitempty"`
	ABIReason   string      `json:"abiReason,omitempty"`
	Isolation   string      `json:"isolation,omitempty"`
	Snapshot    string      `json:"snapshot,omitempty"` // "yes", or why its instances cannot be clones
	ColdStart   ColdStart   `json:"coldStart,omitzero"`
	Failures    Failures    `json:"failures,omitzero"`
	LastFailure LastFailure `json:"lastFailure,omitzero"`
}

// ColdStart is what it takes until a first request is answered, measured on this node once for all containers alike.
type ColdStart struct {
	CompileMicros      int64 `json:"compileMicros"`
	SnapshotMicros     int64 `json:"snapshotMicros"`
	CloneP50Micros     int64 `json:"cloneP50Micros"`
	CloneP99Micros     int64 `json:"cloneP99Micros"`
	FirstRequestMicros int64 `json:"firstRequestMicros"`
}

// Failures counts by cause how guests ended that did not answer. The names are those of the problems that clients get.
type Failures struct {
	CPUTime    uint64 `json:"cpu_time,omitempty"`
	WallTime   uint64 `json:"wall_time,omitempty"`
	Trap       uint64 `json:"trap,omitempty"`
	GuestExit  uint64 `json:"guest_exit,omitempty"`
	GuestPanic uint64 `json:"guest_panic,omitempty"`
	NoResponse uint64 `json:"no_response,omitempty"`
	Memory     uint64 `json:"memory,omitempty"`
	Start      uint64 `json:"start,omitempty"`
	Other      uint64 `json:"other,omitempty"`
}

// Of answers the counter of a cause.
func (f *Failures) Of(code string) *uint64 {
	switch code {
	case "cpu_time":
		return &f.CPUTime
	case "wall_time":
		return &f.WallTime
	case "trap":
		return &f.Trap
	case "guest_exit":
		return &f.GuestExit
	case "guest_panic":
		return &f.GuestPanic
	case "no_response":
		return &f.NoResponse
	case "memory":
		return &f.Memory
	case "start":
		return &f.Start
	}
	return &f.Other
}

// FailureCodes are the causes that are counted apart.
var FailureCodes = []string{"cpu_time", "wall_time", "trap", "guest_exit", "guest_panic", "no_response", "memory", "start"}

// LastFailure is the latest of them. Time is in Unix nanoseconds; Count is how many there were of its code.
type LastFailure struct {
	Code     string `json:"code,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Function string `json:"function,omitempty"` // of the guest, where it is known
	Time     int64  `json:"time,omitempty"`
	Count    uint64 `json:"count,omitempty"`
}
