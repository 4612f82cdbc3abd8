package control

// StatsParams asks for the stats of the containers named; none means all, page by page.
type StatsParams struct {
	IDs   []string `json:"ids,omitempty"`
	Used  bool     `json:"used,omitempty"` // only those that were ever asked anything or run: most pods of a node may not
	After string   `json:"after,omitempty"`
}

// StatsResult is one page of stats.
type StatsResult struct {
	Containers []ContainerStats `json:"containers,omitempty"`
	More       bool             `json:"more,omitempty"`
	Next       string           `json:"next,omitempty"` // the After of the next page
}

// ContainerStats is what was measured for one container since it started.
type ContainerStats struct {
	ID string `json:"id"`
	// MemoryBytes is the linear memory of the instances alive now; an idle HTTP guest has none.
	MemoryBytes uint64 `json:"memoryBytes"`
	// Requests counts what an HTTP guest was asked; Failures those of them that ended in a 5xx of the runtime's own.
	Requests uint64 `json:"requests"`
	Failures uint64 `json:"failures"`
	// InFlight is the number of requests inside the handler now.
	InFlight int64 `json:"inFlight"`
	// GuestNanos is the wall time spent in requests or in the command, summed.
	GuestNanos int64 `json:"guestNanos"`
	// Failures by what ended the guest.
	Causes Failures `json:"causes,omitzero"`
	Pool   Pool     `json:"pool,omitzero"`
	// LogDropped counts lines that could not be written.
	LogDropped uint64 `json:"logDropped,omitempty"`
}

// Pool is what happened to a guest's instances since it started. But for the instances that there are now and their
// memory, all of it is counted up.
type Pool struct {
	Clones        uint64            `json:"clones,omitempty"`
	Resets        uint64            `json:"resets,omitempty"`
	Fresh         uint64            `json:"fresh,omitempty"`
	Reuses        uint64            `json:"reuses,omitempty"`
	Calls         uint64            `json:"calls,omitempty"`
	Discards      map[string]uint64 `json:"discards,omitempty"` // by cause
	Fuel          uint64            `json:"fuel,omitempty"`
	CPUNanos      int64             `json:"cpuNanos,omitempty"`
	CloneNanos    int64             `json:"cloneNanos,omitempty"`
	ResetNanos    int64             `json:"resetNanos,omitempty"`
	GuestNanos    int64             `json:"guestNanos,omitempty"`
	FallbackNanos int64             `json:"fallbackNanos,omitempty"`
	Idle          int               `json:"idle,omitempty"`          // instances that wait for a request
	Busy          int               `json:"busy,omitempty"`          // instances in one
	ResidentBytes uint64            `json:"residentBytes,omitempty"` // private memory of both
}

// Add takes over what another pool of the same guest counted.
func (p *Pool) Add(o *Pool) {
	p.Clones, p.Resets, p.Fresh, p.Reuses, p.Calls = p.Clones+o.Clones, p.Resets+o.Resets, p.Fresh+o.Fresh, p.Reuses+o.Reuses, p.Calls+o.Calls
	p.Fuel += o.Fuel
	p.CPUNanos, p.CloneNanos, p.ResetNanos = p.CPUNanos+o.CPUNanos, p.CloneNanos+o.CloneNanos, p.ResetNanos+o.ResetNanos
	p.GuestNanos, p.FallbackNanos = p.GuestNanos+o.GuestNanos, p.FallbackNanos+o.FallbackNanos
	p.Idle, p.Busy, p.ResidentBytes = p.Idle+o.Idle, p.Busy+o.Busy, p.ResidentBytes+o.ResidentBytes
	for cause, n := range o.Discards {
		if p.Discards == nil {
			p.Discards = map[string]uint64{}
		}
		p.Discards[cause] += n
	}
}

// Past is what remains of a pool's counts when it is closed: its instances are gone.
func (p *Pool) Past() { p.Idle, p.Busy, p.ResidentBytes = 0, 0, 0 }

// ProcessStats is what a runner's process takes, from the kernel's accounts.
type ProcessStats struct {
	PID           int    `json:"pid"`
	ResidentBytes uint64 `json:"residentBytes"`
	CPUNanos      int64  `json:"cpuNanos"`
	Containers    int    `json:"containers"`
	Templates     int    `json:"templates"`
	Goroutines    int    `json:"goroutines"`
}
