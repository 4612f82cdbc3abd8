package image

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Kinds of failure, for errors.Is.
var (
	// ErrReference says that the name of an image cannot be read.
	ErrReference = errors.New("invalid image reference")
	// ErrNotFound says that the registry, or this store, has no such image.
	ErrNotFound = errors.New("image not found")
	// ErrUnauthorized says that the registry wants other credentials.
	ErrUnauthorized = errors.New("registry denied access")
	// ErrUnavailable says that the registry could not be reached or failed; trying again may help.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrUnsupported says that the image holds no module that can be run here.
	ErrUnsupported = errors.New("image is not supported")
	// ErrTooLarge says that a limit was exceeded.
	ErrTooLarge = errors.New("image exceeds a limit")
	// ErrCorrupt says that what is stored is not what its digest says. The image was forgotten.
	ErrCorrupt = errors.New("image is corrupt on disk")
)

// classify joins an error of the registry's client to its kind.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupported) {
		return err
	}
	var te *transport.Error
	if !errors.As(err, &te) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch te.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
