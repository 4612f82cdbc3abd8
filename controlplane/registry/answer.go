package registry

import (
	"encoding/json"
	"net/http"
)

// answer stands between olareg and the client: it names a passed limit where olareg only says 500, runs what has to
// be done before an acknowledgement, and keeps a second status from being written.
type answer struct {
	http.ResponseWriter
	over     func() string          // the limit's message, once it was passed
	before   func(status int) error // runs before the status goes out
	wrote    bool
	replaced bool // the answer is already complete; what olareg writes goes nowhere
}

func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	a.wrote = true
	if message := a.over(); message != "" && status >= http.StatusBadRequest {
		a.replaced = true
		ociError(a.ResponseWriter, http.StatusRequestEntityTooLarge, "SIZE_INVALID", message)
		return
	}
	if a.before != nil {
		if err := a.before(status); err != nil {
			a.replaced = true
			ociError(a.ResponseWriter, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.replaced {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ociError answers in the distribution specification's error format.
func ociError(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Del("Docker-Content-Digest")
	w.Header().Del("Location")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client is gone when this fails; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{Code: code, Message: message}}})
}
