package cri

import (
	"context"
	"encoding/json"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// SandboxImage names the image that the runtime makes sandboxes of, empty where it has none or does not tell. Runtimes that
// pin it need not tell.
func (c *Client) SandboxImage(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Status(ctx, &runtimev1.StatusRequest{Verbose: true})
	if err != nil {
		return "", wrap("ask runtime status", err)
	}
	return sandboxImageOf(answer.GetInfo()), nil
}

// sandboxImageOf reads the configuration that a containerd of version 1 tells; of what is none it reads nothing.
func sandboxImageOf(info map[string]string) string {
	var config struct {
		SandboxImage string `json:"sandboxImage"`
	}
	if json.Unmarshal([]byte(info["config"]), &config) != nil {
		return ""
	}
	return config.SandboxImage
}
