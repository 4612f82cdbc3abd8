package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// nodeAddressKey finds where a request to a node goes: over TLS the URL has the node's name, which its certificate is
// held to, and addresses change.
type nodeAddressKey struct{}

// nodeRequest makes a request to a node's server; target has the server's address.
func (s *Server) nodeRequest(ctx context.Context, node string, target url.URL) (*http.Request, error) {
	ctx, target, err := s.atNode(ctx, node, target)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	return req, nil
}

// atNode is a node's URL as NodeTransport is to be asked for it, with the context that leads it there.
func (s *Server) atNode(ctx context.Context, node string, target url.URL) (context.Context, url.URL, error) {
	target.Scheme = "http"
	if s.cfg.NodeTLS == nil {
		return ctx, target, nil
	}
	_, port, err := net.SplitHostPort(target.Host)
	if err != nil {
		return ctx, target, fmt.Errorf("ask node %s: %w", node, err)
	}
	ctx = context.WithValue(ctx, nodeAddressKey{}, target.Host)
	target.Scheme, target.Host = "https", net.JoinHostPort(node, port)
	return ctx, target, nil
}

// newNodeTransport makes connections to nodes. It keeps connections by the URL's host: over TLS by the node's name, so
// that one which was made to a node is never used for another that has come to have its address.
func newNodeTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: nodeDialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if at, ok := ctx.Value(nodeAddressKey{}).(string); ok {
				address = at
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig: config, TLSHandshakeTimeout: nodeDialTimeout,
		ResponseHeaderTimeout: nodeHeaderTimeout, IdleConnTimeout: idleTimeout,
		DisableCompression: true,
	}
}
