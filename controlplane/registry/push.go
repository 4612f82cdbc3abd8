package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Push stores a module in the registry at base (http://host:port) as PutModule does, over HTTP.
func Push(ctx context.Context, client *http.Client, base, repository string, wasm io.ReadSeeker) (manifestDigest string, err error) {
	if _, err := wasm.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("rewind module: %w", err)
	}
	a, err := describe(wasm, nil)
	if err != nil {
		return "", err
	}
	if _, err := wasm.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("rewind module: %w", err)
	}
	remote := remote{client: client, base: strings.TrimSuffix(base, "/")}
	if err := push(ctx, remote.call, repository, a, wasm); err != nil {
		return "", fmt.Errorf("push module to %s: %w", repository, err)
	}
	return a.manifestDigest.String(), nil
}

// remote is a registry elsewhere.
type remote struct {
	client *http.Client
	base   string
}

func (r *remote) call(ctx context.Context, method, path, mediaType string, body io.Reader, size int64) (*reply, error) {
	if body != nil {
		body = struct{ io.Reader }{body} // a file stays its owner's to close
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", mediaType)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &reply{header: resp.Header, status: resp.StatusCode}
	if _, err := io.Copy(&out.body, io.LimitReader(resp.Body, maxReply)); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return out, nil
}
