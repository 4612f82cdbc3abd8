package wagi

import (
	"fmt"
	"net/http"
)

// ResponseError says that a program's output is no response.
type ResponseError struct {
	Reason string // "its head is empty"
}

func (e *ResponseError) Error() string { return "the program's output is no CGI response: " + e.Reason }

// Problem is how the client is told.
func (e *ResponseError) Problem() (status int, code, detail, fix string) {
	return http.StatusBadGateway, "no_response", e.Error(),
		`print a header first, such as "Content-Type: text/plain", then an empty line, then the body; ` +
			"a command that is to serve no HTTP needs pod annotation petrel.run/http: command"
}

// LengthError says that a body of unknown length is larger than what is kept of it.
type LengthError struct {
	Limit int64 // bytes
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("the request does not say its length and has more than %d bytes", e.Limit)
}

// Problem is how the client is told.
func (e *LengthError) Problem() (status int, code, detail, fix string) {
	return http.StatusRequestEntityTooLarge, "request_too_large", e.Error(), "send a Content-Length, or less"
}
