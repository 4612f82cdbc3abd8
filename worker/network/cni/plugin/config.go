package plugin

import (
	"encoding/json"
	"slices"
	"strings"
)

// MaxConfig bounds what a runtime may hand to the plugin, which includes the attachments that are to stay.
const MaxConfig = 4 << 20

// Versions are those of the specification that are spoken, the newest last.
var Versions = []string{"1.0.0", "1.1.0"}

// Config is the part of a network configuration that concerns the plugin.
type Config struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	// Socket is where the worker listens.
	Socket string `json:"socket"`
	// Valid are the attachments that GC is to leave.
	Valid []ValidAttachment `json:"cni.dev/valid-attachments,omitempty"`
}

// ValidAttachment is a container's link that the runtime knows.
type ValidAttachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// DecodeConfig reads what the runtime wrote to the plugin's standard input.
func DecodeConfig(content []byte) (*Config, error) {
	if len(content) > MaxConfig {
		return nil, NewError(CodeDecode, "network configuration is larger than %d bytes", MaxConfig)
	}
	var c Config
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, NewError(CodeDecode, "decode network configuration: %v", err)
	}
	if !slices.Contains(Versions, c.CNIVersion) {
		e := NewError(CodeVersion, "CNI version %q is not spoken", c.CNIVersion)
		e.Details = "spoken are " + strings.Join(Versions, " and ")
		return nil, e
	}
	if !isAbs(c.Socket) || strings.ContainsRune(c.Socket, 0) {
		e := NewError(CodeConfig, "socket %q of network %q: want an absolute path", c.Socket, c.Name)
		e.CNIVersion = c.CNIVersion
		return nil, e
	}
	return &c, nil
}
