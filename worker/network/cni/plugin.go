package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Commands of the specification.
const (
	commandAdd     = "ADD"
	commandDel     = "DEL"
	commandCheck   = "CHECK"
	commandStatus  = "STATUS"
	commandGC      = "GC"
	commandVersion = "VERSION"
)

// callTimeout bounds a call of the worker. The runtime has a limit of its own, which is usually shorter.
const callTimeout = 2 * time.Minute

// call is what the plugin hands to the worker.
type call struct {
	Command     string          `json:"command"`
	ContainerID string          `json:"containerID"`
	Netns       string          `json:"netns"`
	IfName      string          `json:"ifname"`
	Args        string          `json:"args"`
	Config      json.RawMessage `json:"config"`
}

// Plugin is the plugin's whole life: getenv has what the runtime says, in what it configures, and out is what it reads.
// It answers the exit code.
func Plugin(ctx context.Context, getenv func(string) string, in io.Reader, out io.Writer) int {
	answer, err := plugin(ctx, getenv, in)
	code := 0
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = newError(codeFailed, "%v", err)
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

func plugin(ctx context.Context, getenv func(string) string, in io.Reader) ([]byte, error) {
	c := call{
		Command: getenv("CNI_COMMAND"), ContainerID: getenv("CNI_CONTAINERID"), Netns: getenv("CNI_NETNS"),
		IfName: getenv("CNI_IFNAME"), Args: getenv("CNI_ARGS"),
	}
	content, err := io.ReadAll(io.LimitReader(in, maxConfig+1))
	if err != nil {
		return nil, newError(codeIO, "read network configuration: %v", err)
	}
	switch c.Command {
	case commandVersion:
		return json.Marshal(map[string]any{"cniVersion": askedVersion(content), "supportedVersions": versions})
	case commandAdd, commandDel, commandCheck:
		if err := checkContainer(c.Command, c.ContainerID, c.IfName, c.Netns); err != nil {
			return nil, err
		}
	case commandStatus, commandGC:
	default:
		return nil, newError(codeEnvironment, "CNI_COMMAND %q is unknown", c.Command)
	}
	config, err := decodeConfig(content)
	if err != nil {
		return nil, err
	}
	c.Config = content
	return ask(ctx, config, &c)
}

// askedVersion is what VERSION is answered in: the caller's own version where it is spoken.
func askedVersion(content []byte) string {
	var c networkConfig
	if json.Unmarshal(content, &c) == nil && c.CNIVersion == versions[0] {
		return c.CNIVersion
	}
	return versions[len(versions)-1]
}

// ask hands a call to the worker.
func ask(ctx context.Context, config *networkConfig, c *call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(c)
	if err != nil {
		return nil, newError(codeIO, "encode call: %v", err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", config.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://worker"+callPath, bytes.NewReader(body))
	if err != nil {
		return nil, newError(codeIO, "call worker: %v", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, versioned(config, newError(codeTryAgain, "the worker does not answer at %s: %v", config.Socket, err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxConfig))
	if err != nil {
		return nil, versioned(config, newError(codeTryAgain, "the worker's answer broke off: %v", err))
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return bytes.TrimSpace(answer), nil
	case http.StatusUnprocessableEntity:
		e := &Error{}
		if err := json.Unmarshal(answer, e); err != nil || e.Code == 0 {
			return nil, versioned(config, newError(codeFailed, "the worker's answer cannot be read: %q", answer))
		}
		return nil, versioned(config, e)
	}
	return nil, versioned(config, newError(codeFailed, "the worker answers %s", resp.Status))
}

func versioned(config *networkConfig, e *Error) *Error {
	e.CNIVersion = config.CNIVersion
	return e
}
