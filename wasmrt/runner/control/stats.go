package control

// StatsParams asks for the stats of the containers named; none means all, page by page.
type StatsParams struct {
	IDs   []string `json:"ids,omitempty"`
	After string   `json:"after,omitempty"`
}

// StatsResult is one page of stats.
type StatsResult struct {
	Containers []ContainerStats `json:"containers,omitempty"`
	More       bool             `json:"more,omitempty"`
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
	// LogDropped counts lines that could not be written.
	LogDropped uint64 `json:"logDropped,omitempty"`
}

// ProcessStats is what a runner's process takes, from the kernel's accounts.
type ProcessStats struct {
	PID           int    `json:"pid"`
	ResidentBytes uint64 `json:"residentBytes"`
	CPUNanos      int64  `json:"cpuNanos"`
	Containers    int    `json:"containers"`
	Templates     int    `json:"templates"`
	Goroutines    int    `json:"goroutines"`
}
