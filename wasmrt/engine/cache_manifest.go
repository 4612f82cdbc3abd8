package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
	"golang.org/x/sys/cpu"
)

// An entry is a directory with these files and wazero's own directory, which holds the machine code.
const (
	manifestFile = "manifest"
	outlineFile  = "outline.wasm"
	dataFile     = "data"

	// maxManifest bounds what is read of a manifest in bytes; a module can have a hundred thousand globals.
	maxManifest = 16 << 20
)

// manifest says what an entry has. It is written last, and ends in a hash of its own.
type manifest struct {
	Processor string             `json:"processor"`
	Code      string             `json:"code"` // path of the machine code in the entry
	Files     map[string]fileSum `json:"files"`

	Start      string                   `json:"start,omitempty"`
	Counter    string                   `json:"counter,omitempty"`
	NoSnapshot string                   `json:"noSnapshot,omitempty"`
	Globals    []module.RewrittenGlobal `json:"globals,omitempty"`
}

type fileSum struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// processor describes what machine code depends on.
func processor() string {
	sum := sha256.Sum256(fmt.Append(nil, cpu.X86, cpu.ARM64))
	return runtime.GOARCH + "-" + hex.EncodeToString(sum[:8])
}

func sumOf(b []byte) fileSum {
	sum := sha256.Sum256(b)
	return fileSum{Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
}

func (m *manifest) rewritten() *module.Rewritten {
	return &module.Rewritten{Start: m.Start, Counter: m.Counter, NoSnapshot: m.NoSnapshot, Globals: m.Globals}
}

func (m *manifest) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(append(text, '\n'), sumOf(text).SHA256...), nil
}

// readManifest reads an entry's manifest and holds it against its own hash and this machine.
func readManifest(dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestFile)
	if err := checkOwned(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	body, sum, _ := bytes.Cut(text, []byte{'\n'})
	if len(text) > maxManifest || sumOf(body).SHA256 != string(sum) {
		return nil, fmt.Errorf("%w: its manifest has another hash", errEntry)
	}
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %w", errEntry, err)
	}
	if m.Processor != processor() {
		return nil, errStale
	}
	for _, name := range []string{outlineFile, dataFile, m.Code} {
		if _, ok := m.Files[name]; !ok || !filepath.IsLocal(name) || strings.Count(name, "/") > 1 {
			return nil, fmt.Errorf("%w: its manifest names no %q", errEntry, name)
		}
	}
	return m, nil
}

// verify holds a file's content against the manifest.
func (m *manifest) verify(name string, content []byte) error {
	if sumOf(content) != m.Files[name] {
		return fmt.Errorf("%w: %s has another hash", errEntry, name)
	}
	return nil
}
