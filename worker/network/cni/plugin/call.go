package plugin

import (
	"encoding/json"
	"strings"
)

// Commands of the specification.
const (
	Add     = "ADD"
	Del     = "DEL"
	Check   = "CHECK"
	Status  = "STATUS"
	GC      = "GC"
	Version = "VERSION"
)

// CallPath is where the worker's socket takes calls.
const CallPath = "/v1/cni"

// Call is what the plugin hands to the worker.
type Call struct {
	Command     string          `json:"command"`
	ContainerID string          `json:"containerID"`
	Netns       string          `json:"netns"`
	IfName      string          `json:"ifname"`
	Args        string          `json:"args"`
	Config      json.RawMessage `json:"config"`
}

// CheckContainer tells what is wrong with a call that is about a container.
func (c *Call) CheckContainer() error {
	switch {
	case !isContainerID(c.ContainerID):
		return NewError(CodeEnvironment, "CNI_CONTAINERID %q: want letters, digits, and _ . - after the first", c.ContainerID)
	case c.IfName == "":
		return NewError(CodeEnvironment, "CNI_IFNAME is not set")
	case c.Netns == "" && c.Command != Del:
		return NewError(CodeEnvironment, "CNI_NETNS is not set")
	case c.Netns != "" && !isAbs(c.Netns):
		return NewError(CodeEnvironment, "CNI_NETNS %q: want an absolute path", c.Netns)
	}
	return nil
}

// isContainerID reports whether it is what the specification lets a container be called.
func isContainerID(id string) bool {
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("_.-", c) >= 0:
		default:
			return false
		}
	}
	return id != ""
}

func isAbs(path string) bool { return strings.HasPrefix(path, "/") }
