package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// maxErrorText bounds what a guest is told of an error, in bytes.
const maxErrorText = 1024

type urlError struct{ u, why string }

func (e *urlError) Error() string { return "the URL " + e.u + " cannot be asked: " + e.why }

var errTooMany = errors.New("too many exchanges are open: close those whose response has been read")

// codeOf is what the guest's call returns for an error.
func codeOf(err error) int32 {
	var wrongURL *urlError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrPermission): // *egress.DeniedError, or the kernel
		return wire.ErrDenied
	case errors.As(err, &wrongURL):
		return wire.ErrInvalid
	case errors.Is(err, errTooMany):
		return wire.ErrLimit
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return wire.ErrCancelled
	case errors.Is(err, http.ErrContentLength), errors.Is(err, io.ErrShortWrite):
		return wire.ErrLength
	}
	return wire.ErrIO
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return text[:min(len(text), maxErrorText)]
}
