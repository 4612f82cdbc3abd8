package cni

import (
	"encoding/json"
	"fmt"
	"io"
)

// LoopbackName is the plugin that runtimes execute for a container's loopback, beside the one that their configuration
// names. It is part of a package of plugins that a machine of ours need not have.
const LoopbackName = "loopback"

// Loopback is the loopback plugin's whole life. It sets nothing up: PluginName's ADD does, and without that no container
// starts.
func Loopback(getenv func(string) string, in io.Reader, out io.Writer) int {
	var config struct {
		CNIVersion string `json:"cniVersion"`
	}
	answer, code := any(nil), 0
	switch getenv("CNI_COMMAND") {
	case commandVersion:
		answer = map[string]any{"cniVersion": versions[0], "supportedVersions": append([]string{"0.3.0", "0.3.1", "0.4.0"}, versions...)}
	case commandAdd:
		if err := json.NewDecoder(io.LimitReader(in, maxConfig)).Decode(&config); err != nil {
			answer, code = newError(codeDecode, "decode network configuration: %v", err), 1
			break
		}
		answer = map[string]any{
			"cniVersion": config.CNIVersion, "ips": []any{}, "dns": map[string]any{},
			"interfaces": []any{map[string]any{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": getenv("CNI_NETNS")}},
		}
	}
	if answer == nil {
		return code
	}
	raw, err := json.Marshal(answer)
	if err == nil {
		_, err = fmt.Fprintln(out, string(raw))
	}
	if err != nil {
		return 1
	}
	return code
}
