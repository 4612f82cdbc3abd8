package apps

import (
	"context"
	"fmt"
	"net"
	"net/http"
)

// Headers between the deploy API and the gateway.
const (
	// HeaderProbe on a request asks the gateway to tell who answered.
	HeaderProbe = "Petrel-Probe"
	// HeaderPod on an answer names the pod.
	HeaderPod = "Petrel-Pod"
)

// URLs tells where apps answer behind a gateway at the address, host:port.
func URLs(gateway string) func(namespace, app string) string {
	_, port, err := net.SplitHostPort(gateway)
	if err != nil {
		port = "80"
	}
	suffix := ".localhost:" + port + "/"
	if port == "80" {
		suffix = ".localhost/"
	}
	return func(namespace, app string) string {
		if namespace == "default" {
			return "http://" + app + suffix
		}
		return "http://" + app + "." + namespace + suffix
	}
}

// HTTPGateway reaches apps through a gateway's address. App URLs are names below localhost, which not every resolver
// knows, so the name goes into the request and the address into the connection.
type HTTPGateway struct{ client *http.Client }

// NewHTTPGateway makes one for the gateway that address answers with, host:port, asked anew for each connection: a
// gateway that came up later, or elsewhere, is found.
func NewHTTPGateway(address func() string) *HTTPGateway {
	var dialer net.Dialer
	return &HTTPGateway{client: &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", address())
			},
			// Each probe takes the whole way: a connection that was kept open might lead to the version before.
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Probe asks for the app's start page.
func (g *HTTPGateway) Probe(ctx context.Context, url string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("make probe: %w", err)
	}
	req.Header.Set(HeaderProbe, "1")
	req.Header.Set("User-Agent", "petrel-deploy")
	resp, err := g.client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("ask gateway: %w", err)
	}
	// The head is the answer: a body may stream for ever.
	if err := resp.Body.Close(); err != nil {
		return Answer{}, fmt.Errorf("close answer: %w", err)
	}
	return Answer{Status: resp.StatusCode, Pod: resp.Header.Get(HeaderPod)}, nil
}
