package plugin

import (
	"encoding/json"
	"fmt"
	"io"
)

// Loopback is the loopback plugin's whole life. It sets nothing up: Name's ADD does, and without that no container
// starts.
func Loopback(getenv func(string) string, in io.Reader, out io.Writer) int {
	var config struct {
		CNIVersion string `json:"cniVersion"`
	}
	answer, code := any(nil), 0
	switch getenv("CNI_COMMAND") {
	case Version:
		answer = map[string]any{"cniVersion": Versions[0], "supportedVersions": append([]string{"0.3.0", "0.3.1", "0.4.0"}, Versions...)}
	case Add:
		if err := json.NewDecoder(io.LimitReader(in, MaxConfig)).Decode(&config); err != nil {
			answer, code = NewError(CodeDecode, "decode network configuration: %v", err), 1
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
