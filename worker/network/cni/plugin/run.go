package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Run is the plugin's whole life: getenv has what the runtime says, in what it configures, and out is what it reads. It
// answers the exit code.
func Run(getenv func(string) string, in io.Reader, out io.Writer) int {
	answer, err := run(getenv, in)
	code := 0
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = NewError(CodeFailed, "%v", err)
		}
		code = 1
		if answer, err = json.Marshal(e); err != nil {
			return code
		}
	}
	if len(answer) > 0 {
		if _, err := fmt.Fprintln(out, string(answer)); err != nil {
			return 1
		}
	}
	return code
}

func run(getenv func(string) string, in io.Reader) ([]byte, error) {
	c := Call{
		Command: getenv("CNI_COMMAND"), ContainerID: getenv("CNI_CONTAINERID"), Netns: getenv("CNI_NETNS"),
		IfName: getenv("CNI_IFNAME"), Args: getenv("CNI_ARGS"),
	}
	content, err := io.ReadAll(io.LimitReader(in, MaxConfig+1))
	if err != nil {
		return nil, NewError(CodeIO, "read network configuration: %v", err)
	}
	switch c.Command {
	case Version:
		return json.Marshal(map[string]any{"cniVersion": askedVersion(content), "supportedVersions": Versions})
	case Add, Del, Check:
		if err := c.CheckContainer(); err != nil {
			return nil, err
		}
	case Status, GC:
	default:
		return nil, NewError(CodeEnvironment, "CNI_COMMAND %q is unknown", c.Command)
	}
	config, err := DecodeConfig(content)
	if err != nil {
		return nil, err
	}
	c.Config = content
	return ask(config, &c)
}

// askedVersion is what VERSION is answered in: the caller's own version where it is spoken.
func askedVersion(content []byte) string {
	var c Config
	if json.Unmarshal(content, &c) == nil && slices.Contains(Versions, c.CNIVersion) {
		return c.CNIVersion
	}
	return Versions[len(Versions)-1]
}
