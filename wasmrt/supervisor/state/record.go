package state

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// IDLength is the length of a sandbox's or container's id: 32 random bytes in lower-case hex.
const IDLength = 64

// MaxRecord bounds a record's file in bytes. A container's holds its environment, which the protocol bounds.
const MaxRecord = 8 << 20

// ValidID says whether id may name a file.
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
	Config         json.RawMessage `json:"config,omitempty"` // the CRI's PodSandboxConfig; only in a first record
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
	Config    json.RawMessage `json:"config,omitempty"` // the CRI's ContainerConfig; only in a first record
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

func decode(raw []byte, into any) error {
	whole, err := merge(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(whole, into)
}

func decodeSandbox(raw []byte, id string) (*Sandbox, error) {
	var s Sandbox
	if err := decode(raw, &s); err != nil {
		return nil, fmt.Errorf("decode sandbox: %w", err)
	}
	if s.ID != id || !ValidID(s.ID) || s.Config == nil {
		return nil, errors.New("decode sandbox: the record is not of this file")
	}
	return &s, nil
}

func decodeContainer(raw []byte, sandboxID, id string) (*Container, error) {
	var c Container
	if err := decode(raw, &c); err != nil {
		return nil, fmt.Errorf("decode container: %w", err)
	}
	if c.ID != id || c.SandboxID != sandboxID || !ValidID(c.ID) || c.Config == nil {
		return nil, errors.New("decode container: the record is not of this file")
	}
	if c.Status.State.Rank() == 0 {
		return nil, fmt.Errorf("decode container: unknown state %q", c.Status.State)
	}
	return &c, nil
}
