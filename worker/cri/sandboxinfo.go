package cri

import (
	"context"
	"encoding/json"
	"fmt"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// SandboxNetns is the path of a sandbox's network namespace, as runtimes over OCI's runtime specification tell it; empty
// where the sandbox is on the host's network, or where the runtime does not tell.
func (c *Client) SandboxNetns(ctx context.Context, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return "", wrap("ask pod sandbox status", err)
	}
	return netnsOf(answer.GetInfo())
}

// netnsOf reads what runtimes tell in the verbose answer's "info".
func netnsOf(info map[string]string) (string, error) {
	raw, told := info["info"]
	if !told {
		return "", nil
	}
	var of struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		} `json:"runtimeSpec"`
	}
	if err := json.Unmarshal([]byte(raw), &of); err != nil {
		return "", fmt.Errorf("read sandbox info: %w", err)
	}
	for _, ns := range of.RuntimeSpec.Linux.Namespaces {
		if ns.Type == "network" {
			return ns.Path, nil
		}
	}
	return "", nil
}
