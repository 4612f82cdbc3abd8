package cni

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// PluginName is what the program is called when it is to be the plugin.
	PluginName = "petrel-cni"
	// maxConfig bounds what a runtime may hand to the plugin, which includes the attachments that are to stay.
	maxConfig = 4 << 20
)

// versions are those of the specification that are spoken, the newest last.
var versions = []string{"1.0.0", "1.1.0"}

// containerID is what the specification lets a container be called.
var containerID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`)

// networkConfig is the part of a network configuration that concerns the plugin.
type networkConfig struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	// Socket is where the worker listens.
	Socket string `json:"socket"`
	// Valid are the attachments that GC is to leave.
	Valid []validAttachment `json:"cni.dev/valid-attachments,omitempty"`
}

type validAttachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// decodeConfig reads what the runtime wrote to the plugin's standard input.
func decodeConfig(content []byte) (*networkConfig, error) {
	if len(content) > maxConfig {
		return nil, newError(codeDecode, "network configuration is larger than %d bytes", maxConfig)
	}
	var c networkConfig
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, newError(codeDecode, "decode network configuration: %v", err)
	}
	if !slices.Contains(versions, c.CNIVersion) {
		e := newError(codeVersion, "CNI version %q is not spoken", c.CNIVersion)
		e.Details = "spoken are " + strings.Join(versions, " and ")
		return nil, e
	}
	if !filepath.IsAbs(c.Socket) || strings.ContainsRune(c.Socket, 0) {
		e := newError(codeConfig, "socket %q of network %q: want an absolute path", c.Socket, c.Name)
		e.CNIVersion = c.CNIVersion
		return nil, e
	}
	return &c, nil
}

// parseArgs reads CNI_ARGS, "KEY=value;KEY=value".
func parseArgs(text string) (map[string]string, error) {
	args := map[string]string{}
	if text == "" {
		return args, nil
	}
	for pair := range strings.SplitSeq(text, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, newError(codeEnvironment, "CNI_ARGS: %q is no KEY=value", pair)
		}
		args[key] = value
	}
	return args, nil
}

// owner is whose addresses a container gets: its pod's, where the runtime tells it.
func owner(args map[string]string, container string) string {
	if uid := args["K8S_POD_UID"]; uid != "" {
		return uid
	}
	return container
}

// checkContainer tells what is wrong with the environment of a call that is about a container.
func checkContainer(command, container, ifName, netns string) error {
	switch {
	case !containerID.MatchString(container):
		return newError(codeEnvironment, "CNI_CONTAINERID %q: want letters, digits, and _ . - after the first", container)
	case ifName == "":
		return newError(codeEnvironment, "CNI_IFNAME is not set")
	case netns == "" && command != commandDel:
		return newError(codeEnvironment, "CNI_NETNS is not set")
	case netns != "" && !filepath.IsAbs(netns):
		return newError(codeEnvironment, "CNI_NETNS %q: want an absolute path", netns)
	}
	return nil
}

// Error is an error as the specification wants it.
type Error struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// Codes of errors, by the specification.
const (
	codeVersion      = 1
	codeContainer    = 3
	codeEnvironment  = 4
	codeIO           = 5
	codeDecode       = 6
	codeConfig       = 7
	codeTryAgain     = 11
	codeNotAvailable = 50
	// codeFailed is ours: whatever else went wrong.
	codeFailed = 100
)

func newError(code int, format string, args ...any) *Error {
	return &Error{CNIVersion: versions[len(versions)-1], Code: code, Msg: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + " (" + e.Details + ")"
}
