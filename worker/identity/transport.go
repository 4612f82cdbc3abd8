package identity

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	keepAlive = 30 * time.Second
	// idleTimeout ends connections that nobody uses, those with the last certificate too.
	idleTimeout = 90 * time.Second
	// maxIdle bounds idle connections; over HTTP/2 there is one.
	maxIdle = 16
)

// newTransport makes connections to the API. cert is nil while the node has none.
func newTransport(ca *x509.Certificate, cert *tls.Certificate) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	// The defaults of Kubernetes' clients ask a silent HTTP/2 connection whether it lives, so that a worker notices a
	// control plane that vanished without a word.
	return utilnet.SetTransportDefaults(&http.Transport{
		// The control plane is named, and reached directly: a token must not pass a proxy of the environment.
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
		DialContext:     (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout: idleTimeout, MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle,
	})
}

// swapping is a transport whose connections are made with the newest certificate. What is under way when a new one
// comes ends on the connection that it has: a watch is not broken for it.
type swapping struct {
	now atomic.Pointer[http.Transport]
}

// RoundTrip implements http.RoundTripper.
func (s *swapping) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.now.Load().RoundTrip(r)
}

// CloseIdleConnections ends what nobody uses.
func (s *swapping) CloseIdleConnections() {
	if t := s.now.Load(); t != nil {
		t.CloseIdleConnections()
	}
}

func (s *swapping) swap(next *http.Transport) {
	if old := s.now.Swap(next); old != nil {
		old.CloseIdleConnections()
	}
}
