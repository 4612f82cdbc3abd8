package cri

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecResult is what a command in a container left behind.
type ExecResult struct {
	Stdout, Stderr []byte
	ExitCode       int32
}

// ExecSync runs a command in a container and waits for its end. A command that takes longer than timeout is killed, and
// the call fails with DeadlineExceeded.
func (c *Client) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (ExecResult, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+execSlack)
	defer cancel()
	seconds := int64((timeout + time.Second - 1) / time.Second)
	answer, err := c.rt.ExecSync(ctx, &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: seconds})
	if err != nil {
		return ExecResult{}, wrap("run command in container", err)
	}
	return ExecResult{Stdout: answer.GetStdout(), Stderr: answer.GetStderr(), ExitCode: answer.GetExitCode()}, nil
}
