package apps

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
)

// texter is an answer that has a form for people.
type texter interface{ text(*bytes.Buffer) }

// respond answers with JSON, or with text for who accepts only that.
func respond(w http.ResponseWriter, r *http.Request, status int, v texter) {
	var body bytes.Buffer
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	if wantsText(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		v.text(&body)
	} else {
		h.Set("Content-Type", "application/json")
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			apiProblem(err).write(w, r)
			return
		}
	}
	w.WriteHeader(status)
	// The client is gone when this fails; there is nobody left to tell.
	_, _ = w.Write(body.Bytes())
}

// wantsText tells whether the request asks for text/plain by name. A browser's list and curl's */* mean JSON.
func wantsText(r *http.Request) bool {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		mediaType, _, err := mime.ParseMediaType(strings.TrimSpace(part))
		switch {
		case err != nil:
		case mediaType == "text/plain":
			return true
		case mediaType == "application/json" || mediaType == "text/html":
			return false
		}
	}
	return false
}
