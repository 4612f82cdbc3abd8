package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// hashOf is the hash by which join tokens name an authority.
func hashOf(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// fatal marks an error that waiting does not mend.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// fetchAuthority opens a connection to the server, on which nothing is sent, and answers the authority that it shows,
// once that is the one in the token and vouches for the server.
func (i *Identity) fetchAuthority(ctx context.Context) (*x509.Certificate, error) {
	u, err := url.Parse(i.cfg.Server)
	if err != nil {
		return nil, fatal{err}
	}
	var ca *x509.Certificate
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: dialTimeout},
		Config: &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: u.Hostname(),
			// The authority is not known yet, so the standard's check cannot be made; what takes its place is stricter.
			InsecureSkipVerify: true,
			VerifyConnection: func(cs tls.ConnectionState) (err error) {
				ca, err = i.recognize(cs.PeerCertificates, u.Hostname())
				return err
			},
		},
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return nil, i.explain(err)
	}
	return ca, conn.Close()
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

// recognize finds the token's authority among what the server shows and has it vouch for the server.
func (i *Identity) recognize(shown []*x509.Certificate, host string) (*x509.Certificate, error) {
	var ca *x509.Certificate
	var hashes []string
	for _, cert := range shown {
		if !cert.IsCA {
			continue
		}
		hash := hashOf(cert)
		hashes = append(hashes, hash)
		if subtle.ConstantTimeCompare([]byte(hash), []byte(i.cfg.CAHash)) == 1 {
			ca = cert
		}
	}
	if ca == nil {
		return nil, fatal{fmt.Errorf("the server at %s is not of the token's cluster: its certificate authority is [%s], the token's is %s. Either the token is another cluster's (run `petrel token create` on this one), or something on the way answers in the server's place. The token's secret was not sent",
			i.cfg.Server, strings.Join(hashes, " "), i.cfg.CAHash)}
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca)
	for _, cert := range shown[1:] {
		others.AddCert(cert)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, DNSName: host, CurrentTime: i.cfg.Now()})
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return nil, fatal{fmt.Errorf("the server at %s shows the certificate authority of the token's cluster, which has not signed the server's own certificate: something on the way answers in the server's place. The token's secret was not sent", i.cfg.Server)}
	}
	return ca, err
}

// explain turns what TLS says into what to do about it.
func (i *Identity) explain(err error) error {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
	)
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case errors.As(err, &name):
		return fatal{fmt.Errorf("the server's certificate is not for %q, but for %s: name it by one of those in --server, or start the control plane with --tls-san %s",
			name.Host, namesOf(name.Certificate), name.Host)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fatal{fmt.Errorf("this machine's clock says %s, and the server's certificate is good from %s to %s: set the clock (with NTP) and start again",
			stamp(i.cfg.Now()), stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter))}
	case errors.As(err, &unknown):
		return fatal{fmt.Errorf("the server at %s is not of the cluster that this node joined: its certificate is signed by another authority than %s has. To join another cluster, remove %s and give its token",
			i.cfg.Server, i.file(caFile), i.cfg.Dir)}
	case errors.As(err, &record):
		return fatal{fmt.Errorf("the server at %s does not speak TLS: a control plane that others join listens with TLS (petrel controlplane --listen with an address beyond loopback, or --tls)", i.cfg.Server)}
	}
	return err
}

func namesOf(cert *x509.Certificate) string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return strings.Join(names, ", ")
}
