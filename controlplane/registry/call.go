package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// call sends a request through the same handler that serves clients, without a connection. That way one set of rules
// (limits, verification, syncing) holds for both.
func (r *Registry) call(ctx context.Context, method, path, mediaType string, body io.Reader, size int64) (*reply, error) {
	if body != nil {
		body = struct{ io.Reader }{body} // a file stays its owner's to close
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://local"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.ContentLength = size
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	out := &reply{header: make(http.Header)}
	r.ServeHTTP(out, req)
	return out, ctx.Err()
}

// maxReply bounds what an answer may hold: nothing asked for here is larger than a manifest.
const maxReply = DefaultMaxManifest

// reply collects an answer.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *reply) Header() http.Header { return p.header }

func (p *reply) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *reply) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if p.body.Len()+len(b) > maxReply {
		return 0, fmt.Errorf("answer exceeds %d bytes", maxReply)
	}
	return p.body.Write(b)
}

// failure is the answer as an error.
func (p *reply) failure(what string) error {
	return fmt.Errorf("%s: registry answered %d: %s", what, p.status, bytes.TrimSpace(p.body.Bytes()))
}
