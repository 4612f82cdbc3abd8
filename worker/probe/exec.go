package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

// timeGrain is how exactly times are told.
const timeGrain = 100 * time.Millisecond

// Executor runs a command in a container and waits for its end. A command that ran has no error, whatever its exit code.
type Executor func(ctx context.Context, id string, command []string, timeout time.Duration) (output []byte, code int32, err error)

// run has a command judge the container by its exit code.
func run(ctx context.Context, exec Executor, t Target, action *corev1.ExecAction, timeout time.Duration) error {
	if exec == nil {
		return unknown{errors.New("commands cannot be run in containers here")}
	}
	output, code, err := exec(ctx, t.ID, action.Command, timeout)
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("command timed out: %q timed out after %s", strings.Join(action.Command, " "), timeout.Round(timeGrain))
	default:
		return unknown{err}
	}
	if code != 0 {
		output = bytes.TrimSpace(output)
		return fmt.Errorf("command %q exited with %d: %s", action.Command, code, output[:min(len(output), maxReason)])
	}
	return nil
}
