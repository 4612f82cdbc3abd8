package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps"
)

// moduleFile is a module on this machine.
type moduleFile struct {
	*os.File
	size int64
}

// openModule opens a file that has to be a module. What is plainly none is refused before anything is sent.
func openModule(path string) (*moduleFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("open module: %w", err)}
	}
	m := &moduleFile{File: f}
	if err := m.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func (m *moduleFile) check() error {
	info, err := m.Stat()
	if err != nil {
		return fmt.Errorf("open module: %w", err)
	}
	if !info.Mode().IsRegular() {
		return usageError{fmt.Errorf("%s is no file: name the module that the build made", m.Name())}
	}
	if m.size = info.Size(); m.size > apps.MaxModule {
		return &apps.Problem{
			Type: "about:blank", Title: "The module is too large", Status: 413, Code: "too_large",
			Cause: fmt.Sprintf("%s has %s, the limit is %s", m.Name(), api.Bytes(m.size), api.Bytes(apps.MaxModule)),
			Fix:   "strip debug information (Go: -ldflags='-s -w', others: wasm-strip), or split the program",
		}
	}
	return nil
}

var magic = []byte("\x00asm")

// isWasm looks at the first bytes and rewinds.
func (m *moduleFile) isWasm() (bool, error) {
	head := make([]byte, len(magic))
	n, err := m.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read module: %w", err)
	}
	return bytes.Equal(head[:n], magic), nil
}

// isFile tells whether an argument means a file rather than an image.
func isFile(arg string) bool {
	if info, err := os.Stat(arg); err == nil && !info.IsDir() {
		return true
	}
	return strings.HasSuffix(arg, ".wasm") || strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "/")
}

// nameFor makes a name of a file's or an image's: "Hello_World.wasm" becomes hello-world.
func nameFor(arg string) string {
	base := filepath.Base(arg)
	if !isFile(arg) {
		base, _, _ = strings.Cut(base, "@")
		base, _, _ = strings.Cut(base, ":")
	}
	base = strings.TrimSuffix(base, ".wasm")
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	name := b.String()
	return strings.Trim(name[:min(len(name), api.MaxAppNameLength)], "-")
}

// parseEnv reads NAME=value pairs.
func parseEnv(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--env %s: write NAME=value", pair)}
		}
		out[name] = value
	}
	return out, nil
}
