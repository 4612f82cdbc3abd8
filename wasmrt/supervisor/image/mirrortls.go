package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// maxCredentialFile bounds a file of certificates and keys.
const maxCredentialFile = 256 << 10

// MirrorTLS is how mirrors with an https address are asked, and nobody else: by an authority of their own, and with a
// client certificate. Both files are read for every new connection, so that certificates may be renewed under a
// running supervisor.
type MirrorTLS struct {
	// CA is a file of certificates in PEM that vouch for the mirrors; empty: the system's.
	CA string
	// Credential is a file with a client certificate and its key in PEM; empty: none is shown.
	Credential string
}

// config reads the files.
func (m *MirrorTLS) config(server string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server}
	if m.CA != "" {
		data, err := readCredentialFile(m.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read registry CA: %s has no certificate", m.CA)
		}
	}
	if m.Credential != "" {
		data, err := readCredentialFile(m.Credential)
		if err != nil {
			return nil, err
		}
		cert, err := tls.X509KeyPair(data, data)
		if err != nil {
			// The cause may quote the file, which holds a key.
			return nil, fmt.Errorf("read registry credential: %s is no certificate with its key", m.Credential)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func readCredentialFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open registry credential: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCredentialFile+1))
	if err != nil {
		return nil, fmt.Errorf("read registry credential: %w", err)
	}
	if len(data) > maxCredentialFile {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, path, maxCredentialFile)
	}
	return data, nil
}

// byHost sends requests to mirrors with what is theirs, and all others without: a redirect away from a mirror does not
// take the certificate along.
type byHost struct {
	mirrors map[string]bool // host:port
	mirror  *http.Transport
	other   *http.Transport
}

// newByHost is the way to all registries.
func newByHost(mirrors Mirrors, files *MirrorTLS) *byHost {
	b := &byHost{mirrors: map[string]bool{}, other: newTransport()}
	if files == nil {
		return b
	}
	for _, u := range mirrors {
		if u.Scheme == "https" {
			b.mirrors[u.Host] = true
		}
	}
	b.mirror = newTransport()
	// The mirror is named, and reached directly.
	b.mirror.Proxy = nil
	dial := b.mirror.DialContext
	b.mirror.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("dial mirror: %w", err)
		}
		config, err := files.config(host)
		if err != nil {
			return nil, err
		}
		plain, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(plain, config)
		ctx, cancel := context.WithTimeout(ctx, b.mirror.TLSHandshakeTimeout)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, ignoreClosed(plain.Close()))
		}
		return untilItEnds(conn, config.Certificates), nil
	}
	return b
}

// expiring is a connection that ends with the certificate it was opened with: a server refuses what comes later, and
// the next connection is opened with the next certificate.
type expiring struct {
	*tls.Conn
	timer *time.Timer
}

// endsBefore is how much earlier, so that no request is on its way when the certificate ends.
const endsBefore = time.Second

func untilItEnds(conn *tls.Conn, shown []tls.Certificate) net.Conn {
	if len(shown) == 0 {
		return conn
	}
	return &expiring{conn, time.AfterFunc(time.Until(shown[0].Leaf.NotAfter)-endsBefore, func() { _ = conn.Close() })}
}

// Close implements net.Conn.
func (e *expiring) Close() error {
	e.timer.Stop()
	return e.Conn.Close()
}

// RoundTrip implements http.RoundTripper.
func (b *byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" && b.mirrors[r.URL.Host] {
		return b.mirror.RoundTrip(r)
	}
	return b.other.RoundTrip(r)
}

func (b *byHost) closeIdle() {
	b.other.CloseIdleConnections()
	if b.mirror != nil {
		b.mirror.CloseIdleConnections()
	}
}
