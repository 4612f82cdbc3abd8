package control

import "time"

// Limits are what a pod's annotations say of its guests. A zero field means the default.
type Limits struct {
	Isolation       string        `json:"isolation,omitempty"` // reset, fresh or shared
	HTTP            string        `json:"http,omitempty"`      // how the module serves, when not as it says itself
	CPUTime         time.Duration `json:"cpuTime,omitempty"`   // of a request, or of a command
	WallTime        time.Duration `json:"wallTime,omitempty"`  // of a request, or of a command
	Concurrency     int           `json:"concurrency,omitempty"`
	Queue           int           `json:"queue,omitempty"` // requests that wait for one of these places; negative: none
	QueueTime       time.Duration `json:"queueTime,omitempty"`
	MaxRequestBody  int64         `json:"maxRequestBody,omitempty"` // bytes
	MaxResponseBody int64         `json:"maxResponseBody,omitempty"`
	CallDepth       uint32        `json:"callDepth,omitempty"`
	MaxFiles        int           `json:"maxFiles,omitempty"`
	Egress          []string      `json:"egress,omitempty"` // grants; none: the guest reaches nothing
}

// MaxGrants bounds the egress grants of one container.
const MaxGrants = 64

// Validate holds the limits to what can be meant. What the words stand for is for those to say who use them.
func (l *Limits) Validate() error {
	switch {
	case l.CPUTime < 0 || l.WallTime < 0 || l.QueueTime < 0 || l.Concurrency < 0 || l.MaxRequestBody < 0 || l.MaxResponseBody < 0 || l.MaxFiles < 0:
		return Errorf(CodeInvalid, "limits must not be negative")
	case len(l.Egress) > MaxGrants:
		return Errorf(CodeInvalid, "%d egress grants; at most %d are taken", len(l.Egress), MaxGrants)
	}
	return nil
}
