package image

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxConnsPerHost bounds what one registry may hold open; further requests to it wait.
const maxConnsPerHost = 32

// newTransport makes the transport of all pulls; its idle connections are shared.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second, // a registry that takes longer to begin is down
		ExpectContinueTimeout:  time.Second,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    4,
		MaxConnsPerHost:        maxConnsPerHost,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
	}
}

// limited holds every response to the size of the largest thing of its kind.
type limited struct{ next http.RoundTripper }

func (t limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	limit := int64(maxOther)
	if resp.StatusCode/100 == 2 && r.Method == http.MethodGet && what(r) != "" {
		limit = map[string]int64{manifests: MaxManifest, blobPart: MaxLayer}[what(r)]
	}
	if resp.ContentLength > limit && r.Method != http.MethodHead {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: %s is %d bytes, at most %d are read", ErrTooLarge, r.URL.Path, resp.ContentLength, limit)
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: limit, what: r.URL.Path}
	return resp, nil
}

// Kinds of content. A redirect may lead anywhere, so it is the request at its begin that says which.
const (
	manifests = "manifests"
	blobPart  = "blobs"
)

type kindKey struct{}

func what(r *http.Request) string {
	kind, _ := r.Context().Value(kindKey{}).(string)
	return kind
}

type limitedBody struct {
	io.ReadCloser
	left int64
	what string
}

// Read fails, rather than to end, behind the limit: what was cut must not look whole.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("%w: %s goes on behind its limit", ErrTooLarge, b.what)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, fmt.Errorf("%w: %s goes on behind its limit", ErrTooLarge, b.what)
	}
	return n, err
}
