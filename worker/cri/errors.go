package cri

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callError keeps the gRPC status for the functions below, but reads as the runtime's own words.
type callError struct {
	verb string
	err  error
}

func (e *callError) Error() string {
	s, ok := status.FromError(e.err)
	if !ok {
		return e.verb + ": " + e.err.Error()
	}
	if s.Code() == codes.Unavailable {
		return fmt.Sprintf("%s: runtime is not reachable: %s", e.verb, s.Message())
	}
	return e.verb + ": " + s.Message()
}

func (e *callError) Unwrap() error { return e.err }

func wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return &callError{verb: verb, err: err}
}

// Code is the gRPC code of an error that a call returned; codes.OK for nil.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	var call *callError
	if errors.As(err, &call) {
		err = call.err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(err)
}

// IsNotFound reports whether the runtime does not know the sandbox, container or image.
func IsNotFound(err error) bool { return Code(err) == codes.NotFound }

// IsUnimplemented reports whether the runtime lacks the call.
func IsUnimplemented(err error) bool { return Code(err) == codes.Unimplemented }

// IsUnavailable reports whether the call did not get through or was not answered in time: nothing is known about the
// pod, and the same call may be made again.
func IsUnavailable(err error) bool {
	switch Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	default:
		return false
	}
}

// ignoreNotFound makes stopping and removing idempotent, for runtimes that are not.
func ignoreNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

func socketPath(endpoint string) string { return strings.TrimPrefix(endpoint, "unix://") }

func observer(observe func(string, time.Duration, error)) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		start := time.Now()
		err := invoke(ctx, method, req, reply, cc, opts...)
		observe(path.Base(method), time.Since(start), err)
		return err
	}
}

// IsNotWasm reports whether petrel-wasmrt found that an image is an ordinary one, for containers.
func IsNotWasm(err error) bool { return Code(err) == codes.FailedPrecondition }
