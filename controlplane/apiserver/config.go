package apiserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// DefaultListen is where loopback mode listens.
const DefaultListen = "127.0.0.1:8080"

// Config is what a Server needs.
type Config struct {
	Registry *resource.Registry
	// Listen is host:port. Without TLS the host must be a loopback address, because there are no credentials then:
	// anybody who could reach the API could do anything. Port 0 takes any. Empty: DefaultListen.
	Listen string
	// TLS serves the API over TLS and nothing else; client certificates are asked for, and checked by the
	// Authenticator, which has to be given then, as has the Authorizer. nil: plain HTTP.
	TLS *tls.Config
	// Advertise is the address by which the cluster reaches the API; the zero Addr: the one that is listened on.
	Advertise netip.Addr
	// Mounts serve whole prefixes beside the Kubernetes API ("/v1/", "/v2/"). They pass the same Authenticator and
	// Authorizer; limits on bodies and concurrency are their own.
	Mounts map[string]http.Handler
	// Authenticator and Authorizer; nil, without TLS: auth.Loopback.
	Authenticator auth.Authenticator
	Authorizer    auth.Authorizer
	// NodeTLS is how nodes are reached: over TLS, each by a certificate that carries its name. nil: plain HTTP.
	NodeTLS *tls.Config
	// NodeTransport carries requests for logs to the nodes; nil: direct connections.
	NodeTransport http.RoundTripper
	// Ready are further checks behind /readyz, by name.
	Ready map[string]func() error
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	if c.Registry == nil {
		return errors.New("a registry must be given")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen address %q: must be host:port", c.Listen)
	}
	if c.TLS == nil && (host == "" || !auth.IsLoopbackHost(host)) {
		return fmt.Errorf("listen address %q: without TLS only a loopback address (127.0.0.1, [::1], localhost) is allowed: anybody who could reach the API could do anything", c.Listen)
	}
	if c.TLS != nil && (c.Authenticator == nil || c.Authorizer == nil) {
		return errors.New("an API that speaks TLS needs an Authenticator and an Authorizer")
	}
	for prefix, h := range c.Mounts {
		if !strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") || h == nil {
			return fmt.Errorf("mount %q: must begin and end with a slash and have a handler", prefix)
		}
		if prefix == "/" || strings.HasPrefix(prefix, "/api/") || strings.HasPrefix(prefix, "/apis/") {
			return fmt.Errorf("mount %q: that is the Kubernetes API's own", prefix)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.TLS == nil && c.Authenticator == nil {
		c.Authenticator = auth.Loopback{}
	}
	if c.TLS == nil && c.Authorizer == nil {
		c.Authorizer = auth.Loopback{}
	}
	if c.NodeTransport == nil {
		c.NodeTransport = newNodeTransport(c.NodeTLS)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
