package cni

import (
	"strings"

	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// parseArgs reads CNI_ARGS, "KEY=value;KEY=value".
func parseArgs(text string) (map[string]string, error) {
	args := map[string]string{}
	if text == "" {
		return args, nil
	}
	for pair := range strings.SplitSeq(text, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, plugin.NewError(plugin.CodeEnvironment, "CNI_ARGS: %q is no KEY=value", pair)
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
