package engine

import "fmt"

// Isolation says what two requests to one pool share.
type Isolation string

const (
	// IsolationReset gives each request an instance in the state of the snapshot: cloned from it, or reset to it after
	// another request. It is the default.
	IsolationReset Isolation = "reset"
	// IsolationFresh starts an instance from nothing for each request, and never uses it again.
	IsolationFresh Isolation = "fresh"
	// IsolationShared hands instances on as the last request left them.
	IsolationShared Isolation = "shared"
)

// Validate refuses what is none of the above or empty.
func (i Isolation) Validate() error {
	switch i {
	case "", IsolationReset, IsolationFresh, IsolationShared:
		return nil
	}
	return fmt.Errorf("check isolation: %q is none of %q, %q, %q", string(i), IsolationReset, IsolationFresh, IsolationShared)
}
