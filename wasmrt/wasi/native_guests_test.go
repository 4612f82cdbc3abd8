package wasi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// buildGuest runs a compiler that may not be installed.
func buildGuest(t *testing.T, compiler string, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.CommandContext(t.Context(), compiler, append(args, "-o", out)...)
	msg, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("%s makes no guest, run examples/deps.sh: %v\n%s", compiler, err, msg)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestServersInCAndRust(t *testing.T) {
	for name, tt := range map[string]struct {
		build  func(t *testing.T) []byte
		args   []string
		atOnce int
	}{
		"C, accept": {func(t *testing.T) []byte { return buildC(t, "echo_c/echo.c") }, nil, 1},
		"C, poll":   {func(t *testing.T) []byte { return buildC(t, "echo_c/echo.c") }, []string{"poll"}, 5},
		"Rust, std": {func(t *testing.T) []byte { return buildRust(t, "echo_rust/echo.rs") }, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl := load(t, filepath.Join(t.TempDir(), "cache"), tt.build(t))
			l := listen(t)
			start(t, tmpl, engine.Spec{Listeners: []net.Listener{l}}, tt.args...)
			for range 3 {
				var open []net.Conn
				for range tt.atOnce {
					k, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					_ = k.SetDeadline(time.Now().Add(30 * time.Second))
					open = append(open, k)
				}
				for round := range 3 {
					for i, k := range open {
						text := fmt.Sprintf("hello %d %d\n", i, round)
						_, _ = io.WriteString(k, text)
						if got, err := bufio.NewReader(k).ReadString('\n'); got != strings.ToUpper(text) || err != nil {
							t.Fatalf("it says %q, %v", got, err)
						}
					}
				}
				for _, k := range open {
					_ = k.Close()
				}
			}
			rests(t)
		})
	}
}

func buildC(t *testing.T, source string) []byte {
	return buildGuest(t, "clang", "--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-Wl,--strip-debug", filepath.Join("testdata", source))
}

// buildRust uses Debian's own compiler: one of rustup that stands earlier in PATH lacks the target, whose name has changed.
func buildRust(t *testing.T, source string) []byte {
	target := "wasm32-wasip1"
	if _, err := os.Stat("/usr/lib/rustlib/wasm32-wasi"); err == nil {
		target = "wasm32-wasi"
	}
	return buildGuest(t, "/usr/bin/rustc", "--edition", "2021", "--target", target, "-C", "linker=wasm-ld", "-C", "linker-flavor=wasm-ld",
		"-C", "link-arg=--strip-debug", "-C", "panic=abort", "-O", filepath.Join("testdata", source))
}

// The C library and Rust's own find what they expect, in a mounted directory and in memory.
func TestFilesInCAndRust(t *testing.T) {
	for name, tt := range map[string]struct {
		build  func(t *testing.T, source string) []byte
		source string
		want   string
	}{
		"C": {buildC, "files_c/files.c", `read world
size 17, regular 1
read only 1, append 0
entries 201, after half 101, rewound 1
poll 0, in time 1, stdout ready 1, terminal 0
`},
		"Rust": {buildRust, "files_rust/files.rs", `read world, length 5
now hello!
again true
names ["c", "e"]
gone true
`},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl := load(t, filepath.Join(t.TempDir(), "cache"), tt.build(t, tt.source))
			spec := engine.Spec{Mounts: []wasi.Mount{{HostPath: t.TempDir(), GuestPath: "/data"}}}
			for _, dir := range []string{"/data", wasi.ScratchPath} {
				if got := run(t, tmpl, spec, dir); got != tt.want {
					t.Errorf("%s:\n%s", dir, got)
				}
			}
		})
	}
}
