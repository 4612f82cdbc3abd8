package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxBody is how much of an answer is read, and maxReason how much of it is told.
	maxBody   = 10 << 10
	maxReason = 256
	// maxRedirects is how many redirects within the same host are followed.
	maxRedirects = 10
)

// network asks containers over HTTP.
type network struct{ client *http.Client }

// newNetwork opens a connection for each request, so that one that is kept alive never hides that the server takes no
// new ones. Certificates are not judged: a container's own is of nobody that the node knows.
func newNetwork() *network {
	return &network{client: &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects || req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse // to elsewhere: the redirect itself is the answer
			}
			return nil
		},
	}}
}

// http makes a request; what names it in the error.
func (n *network) http(ctx context.Context, t Target, get *corev1.HTTPGetAction, what string) error {
	req, err := request(ctx, t, get)
	if err != nil {
		return err
	}
	answer, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s failed with statuscode: %d: %s", what, answer.StatusCode, body[:min(len(body), maxReason)])
	}
	return nil
}

func request(ctx context.Context, t Target, get *corev1.HTTPGetAction) (*http.Request, error) {
	address, err := t.address(get.Host, get.Port)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if get.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	path := get.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	for _, h := range get.HTTPHeaders {
		switch http.CanonicalHeaderKey(h.Name) {
		case "Host":
			req.Host = h.Value
		case "User-Agent":
			req.Header.Set("User-Agent", h.Value)
		default:
			req.Header.Add(h.Name, h.Value)
		}
	}
	return req, nil
}

const userAgent = "petrel-probe"
