package moduletest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// precompiled remembers what was done in this process.
var precompiled sync.Map

// precompiler is built without the race detector.
const precompiler = "github.com/petrelrun/petrel/wasmrt/engine/testdata/precompile"

// wazeroVersion makes wazero take itself for the version that it sees in a test binary, which has no build information:
// the version is part of the cache's path.
const wazeroVersion = "-X github.com/tetratelabs/wazero/internal/version.version=dev"

// Precompile fills an engine's cache directory with a module's machine code when the tests run under the race detector,
// where compiling it in this process would take a minute. Without the detector it does nothing.
func Precompile(t testing.TB, cacheDir string, wasm []byte) {
	t.Helper()
	if !raceEnabled {
		return
	}
	key := fmt.Sprintf("%s %x", cacheDir, sha256.Sum256(wasm))
	if _, done := precompiled.LoadOrStore(key, true); done {
		return
	}
	file := filepath.Join(t.TempDir(), "guest.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "-ldflags", wazeroVersion, precompiler, cacheDir, file)
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("precompile: %v\n%s", err, out)
	}
}
