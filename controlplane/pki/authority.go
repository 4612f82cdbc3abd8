package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The authorities of a cluster, by the names that a Keeper knows them by.
const (
	ClusterCA = "ca"
	NodesCA   = "nodes-ca"
)

const (
	// authorityLife is how long an authority lasts: as long as kubeadm's, since replacing it means that nodes join anew.
	authorityLife = 10 * 365 * 24 * time.Hour
	// serialBits is the length of serial numbers; RFC 5280 allows 20 bytes.
	serialBits = 128

	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"
)

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	pool *x509.CertPool
}

// Open answers the authority that the keeper has under the name, made now where it has none.
func Open(ctx context.Context, keeper Keeper, name, cluster string, now time.Time) (*Authority, error) {
	kept, err := keeper.Keep(ctx, name, func() (Pair, error) { return newAuthority(name, cluster, now) })
	if err != nil {
		return nil, fmt.Errorf("open certificate authority %s: %w", name, err)
	}
	a, err := parseAuthority(kept)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority %s: %w", name, err)
	}
	if now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("open certificate authority %s: it ended on %s: make a new one by moving its files away, and have every node join again", name, a.cert.NotAfter.Format(time.RFC3339))
	}
	return a, nil
}

func newAuthority(name, cluster string, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial keeps authorities of different clusters apart for programs that know several by their subject.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s %s %s", cluster, name, serial.Text(62)[:8])},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 0, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate: %w", err)
	}
	encoded, err := EncodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Certificate: encodeCertificate(der), Key: encoded}, nil
}

func parseAuthority(p Pair) (*Authority, error) {
	cert, err := ParseCertificate(p.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(p.Key)
	if err != nil {
		return nil, err
	}
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !cert.IsCA:
		return nil, errors.New("the certificate is no authority's (basic constraints say so)")
	case !ok || !public.Equal(key.Public()):
		return nil, errors.New("the key is not the certificate's")
	}
	a := &Authority{cert: cert, key: key, pem: encodeCertificate(cert.Raw), pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return bytes.Clone(a.pem) }

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// Hash is the SHA-256 of the authority's public key (its SubjectPublicKeyInfo), in hexadecimal: what join tokens carry.
func (a *Authority) Hash() string { return hash(a.cert) }

func hash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// HashOf is the hash of an authority's certificate in PEM.
func HashOf(data []byte) (string, error) {
	cert, err := ParseCertificate(data)
	if err != nil {
		return "", err
	}
	if !cert.IsCA {
		return "", errors.New("the certificate is no authority's: joining nodes could not check it")
	}
	return hash(cert), nil
}

// NotAfter is when the authority ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	// Neither zero, which is no serial, nor short of its length, so that names made of it have one too.
	return n.SetBit(n, serialBits-1, 1), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der})
}

// EncodeKey is a private key in PEM (PKCS #8).
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("encode key: unsupported kind of key") // the error may tell of the key
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}

// ParseCertificate reads the first certificate of a PEM file.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != typeCertificate {
		return nil, errors.New("read certificate: it does not begin with a PEM block of type " + typeCertificate)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return cert, nil
}

// parseKey reads a key in any of the forms in which authorities are brought along: PKCS #8, and the older ones.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("read key: it is no PEM")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("read key: it is neither PKCS #8 nor SEC 1 nor PKCS #1")
}
