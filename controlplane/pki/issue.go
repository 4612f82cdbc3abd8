package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// clockSlack is how far certificates begin in the past: clocks that differ by less do not stop a cluster.
const clockSlack = 5 * time.Minute

// Usage is what a certificate is for.
type Usage uint8

// A certificate serves or asks, never both: what a client steals from a server it cannot pose as.
const (
	Serving Usage = iota + 1
	Client
)

// Request says what a certificate is to be.
type Request struct {
	CommonName   string
	Organization []string
	DNSNames     []string
	Addresses    []netip.Addr
	Usage        Usage
	// Life is how long it lasts from now.
	Life time.Duration
}

// Validate names the first thing that is wrong.
func (r *Request) Validate() error {
	switch {
	case r.CommonName == "":
		return errors.New("a certificate needs a common name")
	case r.Usage != Serving && r.Usage != Client:
		return fmt.Errorf("unknown usage %d", r.Usage)
	case r.Life <= 0:
		return fmt.Errorf("life of %s: must be positive", r.Life)
	case r.Usage == Serving && len(r.DNSNames)+len(r.Addresses) == 0:
		return errors.New("a serving certificate needs names or addresses")
	}
	return nil
}

// Sign issues a certificate for somebody else's key and answers it in PEM.
func (a *Authority) Sign(r Request, public crypto.PublicKey, now time.Time) ([]byte, error) {
	der, err := a.sign(r, public, now)
	if err != nil {
		return nil, err
	}
	return encodeCertificate(der), nil
}

func (a *Authority) sign(r Request, public crypto.PublicKey, now time.Time) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(r.Life)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.CommonName, Organization: r.Organization},
		NotBefore:    now.Add(-clockSlack), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		DNSNames: r.DNSNames,
	}
	if template.NotBefore.Before(a.cert.NotBefore) {
		template.NotBefore = a.cert.NotBefore
	}
	for _, addr := range r.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.Unmap().AsSlice()))
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if r.Usage == Serving {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return der, nil
}

// Issued is a certificate with its key.
type Issued struct {
	Certificate []byte // PEM
	Key         []byte // PEM; secret
	leaf        *x509.Certificate
	signer      crypto.Signer
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(r Request, now time.Time) (*Issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	der, err := a.sign(r, key.Public(), now)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	encoded, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Issued{Certificate: encodeCertificate(der), Key: encoded, leaf: leaf, signer: key}, nil
}

// tls is the certificate as crypto/tls presents it, with the authority behind it: who joins learns the authority from
// the handshake and holds it to the hash in the token.
func (a *Authority) tls(i *Issued) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{i.leaf.Raw, a.cert.Raw}, PrivateKey: i.signer, Leaf: i.leaf}
}
