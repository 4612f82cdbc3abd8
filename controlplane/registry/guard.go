package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
)

// target is what a request is about, as far as limits and syncing care.
type target struct {
	method     string
	repository string
	kind       string // "manifests", "blobs", "uploads", "tags", "referrers" or ""
}

func (t target) manifestPut() bool { return t.kind == "manifests" && t.method == http.MethodPut }

// writes tells whether the request carries content.
func (t target) writes() bool {
	return t.method == http.MethodPut || t.method == http.MethodPatch || t.method == http.MethodPost
}

// classify reads the path: /v2/<repository>/manifests/<reference>, /v2/<repository>/blobs/uploads/[<session>].
func classify(req *http.Request) target {
	t := target{method: req.Method}
	// Cleaned as olareg cleans it, so that both speak of the same repository.
	name := strings.Trim(strings.TrimPrefix(path.Clean("/"+req.URL.Path), "/v2/"), "/")
	if i := strings.LastIndex(name, "/blobs/uploads"); i > 0 {
		t.repository, t.kind = name[:i], "uploads"
	} else if i := strings.LastIndex(name, "/manifests/"); i > 0 {
		t.repository, t.kind = name[:i], "manifests"
	} else if i := strings.LastIndex(name, "/blobs/"); i > 0 {
		t.repository, t.kind = name[:i], "blobs"
	} else if i := strings.LastIndex(name, "/tags/"); i > 0 {
		t.repository, t.kind = name[:i], "tags"
	} else if i := strings.LastIndex(name, "/referrers/"); i > 0 {
		t.repository, t.kind = name[:i], "referrers"
	}
	return t
}

// guard bounds the request's body. It answers itself and tells false where the length alone says too much.
func (r *Registry) guard(w http.ResponseWriter, req *http.Request, t target) (*http.Request, *boundedBody, bool) {
	limit := r.cfg.MaxBlob
	what := "blob"
	if t.kind == "manifests" {
		limit, what = r.cfg.MaxManifest, "manifest"
	}
	body := &boundedBody{ReadCloser: req.Body, left: limit, limit: limit, what: what}
	if !t.writes() || req.Body == nil {
		return req, body, true
	}
	if t.kind == "uploads" {
		// An upload in pieces carries how far it has come; olareg refuses a number that is not its own.
		body.left = max(0, limit-uploadOffset(req))
	}
	if req.ContentLength > body.left {
		ociError(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", body.message())
		return nil, nil, false
	}
	bounded := req.Clone(req.Context())
	bounded.Body = body
	return bounded, body, true
}

func uploadOffset(req *http.Request) int64 {
	raw, err := base64.RawURLEncoding.DecodeString(req.URL.Query().Get("state"))
	if err != nil {
		return 0
	}
	var state struct{ Offset int64 }
	if json.Unmarshal(raw, &state) != nil || state.Offset < 0 {
		return 0
	}
	return state.Offset
}

// boundedBody fails a read beyond the limit instead of ending early: a cut blob must not look whole.
type boundedBody struct {
	io.ReadCloser
	left, limit int64
	what        string
	over        atomic.Bool
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.over.Store(true)
		return 0, fmt.Errorf("read body: %s", b.message())
	}
	return n, err
}

func (b *boundedBody) message() string {
	return fmt.Sprintf("the %s exceeds the limit of %d bytes", b.what, b.limit)
}

// tripped is the message where the limit was passed, and empty otherwise.
func (b *boundedBody) tripped() string {
	if b.over.Load() {
		return b.message()
	}
	return ""
}
