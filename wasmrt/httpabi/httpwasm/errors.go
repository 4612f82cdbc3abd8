package httpwasm

import (
	"errors"
	"net/http"
)

// BufferError says that a body is larger than what the host keeps for a guest.
type BufferError struct{}

func (*BufferError) Error() string {
	return "the body is larger than the host keeps for a guest that asks to read or change it"
}

// HostError says why a host function ended the guest.
type HostError struct {
	Err error // the reason
	End error // how the engine saw it end
}

func (e *HostError) Error() string { return e.Err.Error() }

func (e *HostError) Unwrap() []error { return []error{e.Err, e.End} }

// Problem is how the client is told: a body over the limit is the client's or the next handler's, a call that the ABI
// forbids the guest's. An empty code leaves it to the engine's error.
func (e *HostError) Problem() (status int, code, detail, fix string) {
	var tooLarge *http.MaxBytesError
	var full *BufferError
	switch {
	case errors.As(e.Err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "request_too_large", "the body is over the app's limit", "send less"
	case errors.As(e.Err, &full):
		return http.StatusRequestEntityTooLarge, "request_too_large", e.Err.Error(),
			"send less; in the guest, do without the features buffer_request and buffer_response to stream bodies"
	}
	return 0, "", "", ""
}

// misuse ends the guest for a call that the ABI forbids.
func (x *exchange) misuse(what string) { x.fail(errors.New("http_handler: " + what)) }

// fail ends the guest: the engine recovers the panic of a host function and makes a trap of it.
func (x *exchange) fail(err error) {
	x.broken = err
	panic(err)
}
