package supervisor

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

var controlCodes = map[control.Code]codes.Code{
	control.CodeNotFound:     codes.NotFound,
	control.CodeExists:       codes.AlreadyExists,
	control.CodeInvalid:      codes.InvalidArgument,
	control.CodePrecondition: codes.FailedPrecondition,
	control.CodeBusy:         codes.ResourceExhausted,
	control.CodeStart:        codes.Unknown, // as other runtimes answer when a container cannot be started
	control.CodeInternal:     codes.Internal,
	control.CodeNotCompiled:  codes.Internal, // after it was compiled
}

var imageCodes = []struct {
	is   error
	code codes.Code
}{
	{image.ErrReference, codes.InvalidArgument},
	{image.ErrNotWasm, codes.FailedPrecondition}, // the caller has another runtime for it
	{image.ErrTooLarge, codes.InvalidArgument},
	{image.ErrUnsupported, codes.InvalidArgument},
	{image.ErrNotFound, codes.NotFound},
	{image.ErrCorrupt, codes.NotFound}, // it has been forgotten
	{image.ErrUnauthorized, codes.PermissionDenied},
	// Unavailable would say that this runtime is, and its clients would wait for it.
	{image.ErrConfig, codes.Unknown},
	{image.ErrUnavailable, codes.Unknown},
}

// registryUnavailable is the word of the CRI by which kubelets know that a registry cannot be reached.
const registryUnavailable = "RegistryUnavailable"

// grpcError gives an error its code. It is the one place where that is done.
func grpcError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var e *control.Error
	if errors.As(err, &e) {
		return status.Error(controlCodes[e.Code], err.Error())
	}
	for _, known := range imageCodes {
		if errors.Is(err, known.is) {
			text := err.Error()
			if known.is == image.ErrUnavailable {
				text = registryUnavailable + ": " + text
			}
			return status.Error(known.code, text)
		}
	}
	var backoff *fleet.BackoffError
	switch {
	case errors.As(err, &backoff):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, fleet.ErrClosed), errors.Is(err, control.ErrClosed):
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}
