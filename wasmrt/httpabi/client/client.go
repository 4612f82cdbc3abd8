package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The limits of a Client.
const (
	// MaxOpen is how many exchanges an instance may have open.
	MaxOpen = 16
	// maxResponseHead bounds a response's head, in bytes.
	maxResponseHead = 256 << 10
	// maxIdleConns and idleConnTimeout are what a pod keeps of its connections for the next request.
	maxIdleConns    = 16
	idleConnTimeout = 30 * time.Second
	// tlsHandshakeTimeout and continueTimeout are net/http's own.
	tlsHandshakeTimeout = 10 * time.Second
	continueTimeout     = time.Second
)

// Policy says what a pod may connect to. *egress.Policy is one.
type Policy interface {
	// CheckHTTP refuses what no grant names, before anything is resolved.
	CheckHTTP(scheme, host string, port int) error
	// DialHTTP resolves the address, holds each result against the grants, and connects to one that passed.
	DialHTTP(ctx context.Context, scheme, network, address string) (net.Conn, error)
}

// Client makes the requests of a pod. It is safe for concurrent use.
type Client struct {
	policy    Policy
	transport *http.Transport
}

// schemeKey is how a dial knows what it is for: net/http names an address only.
type schemeKey struct{}

// New makes a client. It does nothing until it is used.
func New(policy Policy) *Client {
	c := &Client{policy: policy}
	c.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			scheme, _ := ctx.Value(schemeKey{}).(string)
			return policy.DialHTTP(ctx, scheme, network, address)
		},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           maxIdleConns,
		IdleConnTimeout:        idleConnTimeout,
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHead,
	}
	return c
}

// Close closes the connections that wait for another request.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// check asks the policy before anything is done.
func (c *Client) check(u *url.URL) error {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return &urlError{u: u.Redacted(), why: "its port is none"}
	}
	return c.policy.CheckHTTP(u.Scheme, u.Hostname(), int(n))
}
