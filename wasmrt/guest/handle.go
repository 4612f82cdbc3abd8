package guest

import "net/http"

// handler is what Handle was given.
var handler http.Handler

// Handle sets the handler that serves every request. Call it once, from an init function: a reactor's main is never
// called. It panics when it is called twice or with nil.
func Handle(h http.Handler) {
	if h == nil {
		panic("guest: Handle was called with nil")
	}
	if handler != nil {
		panic("guest: Handle was called twice")
	}
	handler = h
}
