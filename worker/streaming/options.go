package streaming

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Names of the query's parameters, as kubelets have them.
const (
	ParamStdin   = "input"
	ParamStdout  = "output"
	ParamStderr  = "error"
	ParamTTY     = "tty"
	ParamCommand = "command"
	ParamPort    = "port"
)

// Options are the streams that a client wants of a command.
type Options struct {
	Stdin, Stdout, Stderr, TTY bool
}

// ParseOptions reads the query of an exec or attach. A terminal has one output, so that there is no stderr beside it.
func ParseOptions(q url.Values) (Options, error) {
	o := Options{Stdin: q.Get(ParamStdin) == "1", Stdout: q.Get(ParamStdout) == "1", Stderr: q.Get(ParamStderr) == "1", TTY: q.Get(ParamTTY) == "1"}
	if o.TTY {
		o.Stderr = false
	}
	if !o.Stdin && !o.Stdout && !o.Stderr {
		return o, errors.New("at least one of stdin, stdout and stderr must be asked for")
	}
	return o, nil
}

// Query is what ParseOptions reads.
func (o Options) Query() url.Values {
	q := url.Values{}
	for name, wanted := range map[string]bool{ParamStdin: o.Stdin, ParamStdout: o.Stdout, ParamStderr: o.Stderr, ParamTTY: o.TTY} {
		if wanted {
			q.Set(name, "1")
		}
	}
	return q
}

// ParseCommand reads the command of an exec.
func ParseCommand(q url.Values) ([]string, error) {
	command := q[ParamCommand]
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("a command must be given")
	}
	if len(command) > maxCommand {
		return nil, fmt.Errorf("the command has %d words; %d are allowed", len(command), maxCommand)
	}
	return command, nil
}

// ParsePorts reads the ports of a port-forward. Only the WebSocket protocol of old names them in its request; all others
// name one with each connection.
func ParsePorts(r *http.Request) ([]int32, error) {
	if !wsstream.IsWebSocketRequest(r) || wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		return nil, nil
	}
	var ports []int32
	for _, value := range r.URL.Query()[ParamPort] {
		for word := range strings.SplitSeq(value, ",") {
			port, err := strconv.ParseUint(word, 10, 16)
			if err != nil || port == 0 {
				return nil, fmt.Errorf("port %q: want a number from 1 to 65535", word)
			}
			ports = append(ports, int32(port))
		}
	}
	if len(ports) == 0 {
		return nil, errors.New("at least one port must be given")
	}
	return ports, nil
}

// IsUpgrade tells whether a request asks for streams at all.
func IsUpgrade(r *http.Request) bool { return httpstream.IsUpgradeRequest(r) }
