package crifake

import (
	"bytes"
	"context"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// exitNeeds is the exit code of need when there is no such file.
const exitNeeds = 9

// ExecSync runs a Task beside the container's program. The first pair may be need and a file of this machine, without
// which the command fails: tests turn it on and off by that.
func (s *service) ExecSync(ctx context.Context, req *runtimev1.ExecSyncRequest) (*runtimev1.ExecSyncResponse, error) {
	s.mu.Lock()
	c := s.containers[req.GetContainerId()]
	running := c != nil && c.running()
	s.mu.Unlock()
	switch {
	case c == nil:
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	case !running:
		return nil, status.Errorf(codes.FailedPrecondition, "container %q does not run", c.id)
	}
	if t := req.GetTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t)*time.Second)
		defer cancel()
	}
	ended := make(chan *runtimev1.ExecSyncResponse, 1)
	go func() { ended <- c.exec(req.GetCmd(), ctx.Done()) }()
	select {
	case answer := <-ended:
		if ctx.Err() == nil {
			return answer, nil
		}
		return nil, status.Error(codes.DeadlineExceeded, "the command took too long")
	case <-c.done:
		return nil, status.Errorf(codes.Unknown, "container %q ended", c.id)
	}
}

func (c *container) exec(command []string, stop <-chan struct{}) *runtimev1.ExecSyncResponse {
	var stdout, stderr bytes.Buffer
	p := c.process(&logFile{})
	p.Args, p.Stdout, p.Stderr, p.Stop = command, &stdout, &stderr, stop
	if len(command) > 1 && command[0] == "need" {
		if _, err := os.Stat(command[1]); err != nil {
			return &runtimev1.ExecSyncResponse{Stderr: []byte(err.Error()), ExitCode: exitNeeds}
		}
		p.Args = command[2:]
	}
	code := Task(p)
	return &runtimev1.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: code}
}
