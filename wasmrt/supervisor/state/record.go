package state

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// IDLength is the length of a sandbox's or container's id: 32 random bytes in lower-case hex.
const IDLength = 64

// MaxRecord bounds a record in bytes. A container's holds its environment, which the protocol bounds.
const MaxRecord = 8 << 20

// ValidID says whether id is one of ours.
func ValidID(id string) bool {
	if len(id) != IDLength {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Sandbox is a pod sandbox's record. Times are Unix nanoseconds.
type Sandbox struct {
	ID             string          `json:"id"`
	Config         json.RawMessage `json:"config,omitempty"` // the CRI's PodSandboxConfig; only in a first line
	RuntimeHandler string          `json:"runtimeHandler,omitempty"`
	Namespace      string          `json:"namespace"` // whose runner it belongs to
	Address        string          `json:"address,omitempty"`
	Ready          bool            `json:"ready"`
	CreatedAt      int64           `json:"createdAt"`
}

// Container is a container's record.
type Container struct {
	ID        string          `json:"id"`
	SandboxID string          `json:"sandboxID"`
	Config    json.RawMessage `json:"config,omitempty"` // the CRI's ContainerConfig; only in a first line
	ImageID   string          `json:"imageID"`          // digest of the image's manifest
	ImageRef  string          `json:"imageRef"`         // repository@digest, or the id
	Module    string          `json:"module"`           // digest of the module's bytes
	LogPath   string          `json:"logPath,omitempty"`
	Status    control.Status  `json:"status"`
}

// Runner is a runner process's record.
type Runner struct {
	Key       string `json:"key"`
	Namespace string `json:"namespace"`
	PID       int    `json:"pid"`
	User      uint32 `json:"user,omitempty"` // the id it was given; 0 is the supervisor's own
	Socket    string `json:"socket"`
	StartedAt int64  `json:"startedAt"`
	Stage     string `json:"stage,omitempty"` // empty: it is its namespace's
}

// Stages of a runner that is not its namespace's.
const (
	StageNext = "next" // it is to be, once it has taken over
	StagePast = "past" // it was, and ends
)

// Groups are the control groups that hold those of runners.
type Groups struct {
	Dirs []string `json:"dirs"`
}

// Runtime is what the CRI's client configured.
type Runtime struct {
	PodCIDR string `json:"podCIDR,omitempty"`
}

// decode reads a record's first line and, if there is one, its last, which lacks the configuration.
func decode[T any](first, last []byte, config func(*T) *json.RawMessage) (*T, error) {
	r := new(T)
	if err := json.Unmarshal(first, r); err != nil || last == nil {
		return r, err
	}
	now := new(T)
	if err := json.Unmarshal(last, now); err != nil {
		return nil, err
	}
	*config(now) = *config(r)
	return now, nil
}

func decodeSandbox(first, last []byte, id string) (*Sandbox, error) {
	s, err := decode(first, last, func(s *Sandbox) *json.RawMessage { return &s.Config })
	if err != nil {
		return nil, fmt.Errorf("decode sandbox: %w", err)
	}
	if s.ID != id || !ValidID(s.ID) || s.Config == nil {
		return nil, errors.New("decode sandbox: the record is another's")
	}
	return s, nil
}

func decodeContainer(first, last []byte, sandboxID, id string) (*Container, error) {
	c, err := decode(first, last, func(c *Container) *json.RawMessage { return &c.Config })
	if err != nil {
		return nil, fmt.Errorf("decode container: %w", err)
	}
	if c.ID != id || c.SandboxID != sandboxID || !ValidID(c.ID) || c.Config == nil {
		return nil, errors.New("decode container: the record is another's")
	}
	if c.Status.State.Rank() == 0 {
		return nil, fmt.Errorf("decode container: unknown state %q", c.Status.State)
	}
	return c, nil
}
