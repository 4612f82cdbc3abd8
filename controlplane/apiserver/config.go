package apiserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// DefaultListen is where loopback mode listens.
const DefaultListen = "127.0.0.1:8080"

// Config is what a Server needs.
type Config struct {
	Registry *resource.Registry
	// Listen is host:port; the host must be a loopback address, because there are no users yet. Port 0 takes any.
	// Empty: DefaultListen.
	Listen string
	// Mounts serve whole prefixes beside the Kubernetes API ("/v1/", "/v2/"). They pass the same Authenticator and
	// Authorizer; limits on bodies and concurrency are their own.
	Mounts map[string]http.Handler
	// Authenticator and Authorizer; nil: auth.Loopback.
	Authenticator auth.Authenticator
	Authorizer    auth.Authorizer
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
	if host == "" || !auth.IsLoopbackHost(host) {
		return fmt.Errorf("listen address %q: only a loopback address (127.0.0.1, [::1], localhost) is allowed, because this API has no users and no TLS yet: anybody who could reach it could do anything", c.Listen)
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
	if c.Authenticator == nil {
		c.Authenticator = auth.Loopback{}
	}
	if c.Authorizer == nil {
		c.Authorizer = auth.Loopback{}
	}
	if c.NodeTransport == nil {
		c.NodeTransport = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: nodeDialTimeout}).DialContext,
			ResponseHeaderTimeout: nodeHeaderTimeout,
			DisableCompression:    true,
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
