package cri

import (
	"context"
	"encoding/json"
	"slices"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Handlers names the runtime handlers that the runtime has, in order; the default, which has no name, is not among them.
func (c *Client) Handlers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Status(ctx, &runtimev1.StatusRequest{Verbose: true})
	if err != nil {
		return nil, wrap("ask runtime status", err)
	}
	return handlersOf(answer), nil
}

// handlersOf reads what the runtime tells as the CRI says, or, of a containerd that is older than that, out of the
// configuration that it tells.
func handlersOf(answer *runtimev1.StatusResponse) []string {
	var out []string
	for _, h := range answer.GetRuntimeHandlers() {
		if h.GetName() != "" {
			out = append(out, h.GetName())
		}
	}
	if len(out) == 0 {
		var config struct {
			Containerd struct {
				Runtimes map[string]json.RawMessage `json:"runtimes"`
			} `json:"containerd"`
		}
		if json.Unmarshal([]byte(answer.GetInfo()["config"]), &config) == nil {
			for name := range config.Containerd.Runtimes {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
