package client

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/controlplane/api"
)

// sandboxFlags say how the guest runs and what a request may use. With underscores for dashes they are the deploy
// call's parameters.
var sandboxFlags = []string{
	"isolation", "http", "memory", "cpu-time", "wall-time", "concurrency", "queue", "queue-time",
	"max-request-body", "max-response-body", "call-depth", "max-files",
}

func addSandboxFlags(f *pflag.FlagSet) {
	f.String("isolation", "", "what a request shares with those before it: "+strings.Join(api.Isolations(), ", "))
	f.String("http", "", "how the module serves HTTP: "+strings.Join(api.HTTPModes(), ", "))
	f.String("memory", "", "most memory of one instance, such as 64Mi")
	f.Duration("cpu-time", 0, "most processor time of one request, such as 50ms")
	f.Duration("wall-time", 0, "longest time of one request, such as 10s")
	f.Int32("concurrency", 0, "requests that one pod serves at once")
	f.Int32("queue", 0, "requests that wait at one pod for their turn")
	f.Duration("queue-time", 0, "longest wait for a turn, such as 1s")
	f.String("max-request-body", "", "largest body of a request, such as 1Mi")
	f.String("max-response-body", "", "largest body of a response, such as 8Mi")
	f.Int32("call-depth", 0, "how deep calls may nest in the guest")
	f.Int32("max-files", 0, "files and sockets that an instance may have open")
}
