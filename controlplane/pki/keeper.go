package pki

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	dirPerm  = 0o700
	keyPerm  = 0o600
	certPerm = 0o644
	// maxFile bounds what is read of a certificate or key: the largest RSA key has some kilobytes.
	maxFile = 64 << 10
)

// Pair is an authority's certificate and private key, in PEM.
type Pair struct{ Certificate, Key []byte }

// Keeper keeps authorities. Dir keeps them on disk; where several control planes share one store, a keeper over that
// store gives all of them the same.
type Keeper interface {
	// Keep answers what is kept under the name. Where nothing is, it keeps what make answers; of several that find
	// nothing at the same time one keeps, and all are answered what that one made.
	Keep(ctx context.Context, name string, make func() (Pair, error)) (Pair, error)
}

// Dir is a directory that keeps each authority as NAME.crt and NAME.key. Files brought along, of another authority,
// are used as they are.
type Dir string

// Keep implements Keeper.
func (d Dir) Keep(_ context.Context, name string, make func() (Pair, error)) (Pair, error) {
	if err := os.MkdirAll(string(d), dirPerm); err != nil {
		return Pair{}, fmt.Errorf("make directory: %w", err)
	}
	kept, err := d.read(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return kept, err
	}
	made, err := make()
	if err != nil {
		return Pair{}, err
	}
	if err := d.write(name, made); err != nil && !errors.Is(err, fs.ErrExist) {
		return Pair{}, err
	}
	return d.read(name)
}

// read answers fs.ErrNotExist only where there is no key: it is written last, and holds the certificate as well.
func (d Dir) read(name string) (Pair, error) {
	key, err := readFile(d.path(name, ".key"))
	if err != nil {
		return Pair{}, err
	}
	info, err := os.Stat(d.path(name, ".key"))
	if err != nil {
		return Pair{}, fmt.Errorf("look at key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Pair{}, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it, and ask yourself who has it by now", d.path(name, ".key"), info.Mode().Perm())
	}
	cert, err := readFile(d.path(name, ".crt"))
	if errors.Is(err, fs.ErrNotExist) {
		if cert, err = certificateIn(key); err == nil {
			err = writeNew(d.path(name, ".crt"), cert, certPerm)
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil // whoever made the key came in between
		}
	}
	if err != nil {
		return Pair{}, err
	}
	return Pair{Certificate: cert, Key: keyIn(key)}, nil
}

// write keeps a pair in one step: the key's file carries the certificate too, so that a process which is killed
// between the two files leaves either nothing or everything.
func (d Dir) write(name string, p Pair) error {
	if err := writeNew(d.path(name, ".key"), append(bytes.Clone(p.Key), p.Certificate...), keyPerm); err != nil {
		return err
	}
	err := writeNew(d.path(name, ".crt"), p.Certificate, certPerm)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process wrote it from the key's file
	}
	return err
}

func (d Dir) path(name, suffix string) string { return filepath.Join(string(d), name+suffix) }

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read %s: %d bytes are no certificate and no key", path, info.Size())
	}
	return os.ReadFile(path)
}

// writeNew makes a file whole or not at all, and never over another.
func writeNew(path string, data []byte, perm fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(perm), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path) // unlike rename, it does not replace
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// keyIn is the first block that is no certificate, certificateIn the first that is one.
func keyIn(data []byte) []byte {
	return blockIn(data, func(b *pem.Block) bool { return b.Type != typeCertificate })
}

func certificateIn(data []byte) ([]byte, error) {
	if cert := blockIn(data, func(b *pem.Block) bool { return b.Type == typeCertificate }); cert != nil {
		return cert, nil
	}
	return nil, errors.New("the key is there, its certificate is not")
}

func blockIn(data []byte, is func(*pem.Block) bool) []byte {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil
		}
		if is(block) {
			return pem.EncodeToMemory(block)
		}
		data = rest
	}
}
