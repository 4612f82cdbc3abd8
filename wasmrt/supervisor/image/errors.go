package image

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

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
	// ErrNotWasm says that the image is an ordinary one, for another runtime. Manifest and config tell; no layer was
	// fetched. It is an ErrUnsupported, too.
	ErrNotWasm = fmt.Errorf("%w: it is no WebAssembly", ErrUnsupported)
	// ErrTooLarge says that a limit was exceeded.
	ErrTooLarge = errors.New("image exceeds a limit")
	// ErrConfig says that this node's settings for the registry cannot be used.
	ErrConfig = errors.New("registry settings cannot be used")
	// ErrCorrupt says that what is stored is not what its digest says. The image was forgotten.
	ErrCorrupt = errors.New("image is corrupt on disk")
)

// kinds of failure by how much they tell: of several hosts' errors the first kind is the pull's.
var kinds = []error{ErrConfig, ErrUnsupported, ErrTooLarge, ErrUnauthorized, ErrNotFound, ErrUnavailable}

// classify joins an error of a registry to its kind, and keeps what the registry said to what may be shown.
func classify(err error) error {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return err
		}
	}
	return &failure{kind: kindOf(err), err: err}
}

func kindOf(err error) error {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return k
		}
	}
	var te *transport.Error
	if errors.As(err, &te) {
		switch te.StatusCode {
		case http.StatusNotFound:
			return ErrNotFound
		case http.StatusUnauthorized, http.StatusForbidden:
			return ErrUnauthorized
		}
	}
	return ErrUnavailable
}

// worst is one error for those of several hosts: that of the most telling kind, with what the others said behind it.
func worst(failed []error) error {
	if len(failed) == 1 {
		return failed[0]
	}
	for _, k := range kinds {
		for _, err := range failed {
			if kindOf(err) == k {
				return &failure{kind: k, err: several(failed)}
			}
		}
	}
	return several(failed)
}

// hostError is what happened at one host.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return e.host + ": " + told(e.err) }
func (e *hostError) Unwrap() error { return e.err }

// several are the errors of several hosts.
type several []error

func (s several) Error() string {
	var out []string
	for _, err := range s {
		out = append(out, err.Error())
	}
	return strings.Join(out, "; ")
}

func (s several) Unwrap() []error { return s }

// failure is an error of a registry. What a registry sends ends up in the status of pods, so it is cut, and bodies that
// are no registry's error are not shown: they may be of another service that the registry led to.
type failure struct{ kind, err error }

// maxTold bounds what is told of a registry's answer.
const maxTold = 500

// Error implements error.
func (f *failure) Error() string { return f.kind.Error() + ": " + told(f.err) }

// Unwrap implements errors.Unwrap.
func (f *failure) Unwrap() []error { return []error{f.kind, f.err} }

func told(err error) string {
	var at *hostError
	if errors.As(err, &at) {
		return err.Error() // which was told host by host
	}
	var te *transport.Error
	if errors.As(err, &te) {
		text := fmt.Sprintf("%d %s", te.StatusCode, http.StatusText(te.StatusCode))
		for _, d := range te.Errors[:min(len(te.Errors), 1)] {
			text += fmt.Sprintf(": %s: %s", d.Code, d.Message)
		}
		if te.Request != nil {
			text = te.Request.URL.Host + te.Request.URL.Path + ": " + text
		}
		return printable(text)
	}
	return printable(err.Error())
}

// printable is text of a stranger as one line of bounded length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > maxTold {
		return string(r[:maxTold]) + "…"
	}
	return s
}
