package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	dirPerm  = 0o700
	keyPerm  = 0o600
	certPerm = 0o644

	caFile = "ca.crt"
)

// file is a file of the directory.
func (i *Identity) file(name string) string { return filepath.Join(i.cfg.Dir, name) }

// read reads a small file; fs.ErrNotExist says that there is none.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read %s: it has %d bytes, more than any certificate", path, info.Size())
	}
	return os.ReadFile(path)
}

// write replaces a file in one step.
func write(path string, data []byte, perm fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(perm), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// pair is a certificate with its key, and when it came.
type pair struct {
	tls.Certificate
	since time.Time
}

// renewAt is when two thirds of the certificate's life, from when it came, are over.
func (p *pair) renewAt() time.Time {
	begin := p.Leaf.NotBefore
	if p.since.After(begin) {
		begin = p.since
	}
	return begin.Add(p.Leaf.NotAfter.Sub(begin) * 2 / 3)
}

// readPair reads a certificate with its key.
func readPair(path string) (*pair, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("read %s: it is no certificate with its key: remove it and join again", path)
	}
	return &pair{Certificate: cert, since: info.ModTime()}, nil
}

// pendingKey answers the key that the next certificate is for: the one that was made for it before, or a new one.
func pendingKey(path string) (crypto.Signer, []byte, error) {
	if data, err := read(path); err == nil {
		if block, _ := pem.Decode(data); block != nil {
			if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
				if signer, ok := key.(crypto.Signer); ok {
					return signer, data, nil
				}
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, errors.New("encode key: it cannot be encoded")
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key, data, write(path, data, keyPerm)
}

// keep writes a certificate with its key down and answers both; the pending key is done with.
func keep(path, pending string, cert, key []byte) (*pair, error) {
	both := append(bytes.Clone(cert), key...)
	if _, err := tls.X509KeyPair(both, both); err != nil {
		return nil, errors.New("the certificate that came is not for the key that was asked for")
	}
	if err := write(path, both, keyPerm); err != nil {
		return nil, err
	}
	if err := os.Remove(pending); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove pending key: %w", err)
	}
	return readPair(path)
}

// readAuthority reads the cluster's authority.
func readAuthority(path string) (*x509.Certificate, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read %s: it is no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return cert, nil
}
