package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

const fakeVariable = "PETREL_SUPERVISOR_TEST_COMPILER"

// TestMain is also the compiler of TestProcessCompiler, which says what the variable holds.
func TestMain(m *testing.M) {
	switch say := os.Getenv(fakeVariable); say {
	case "":
		goleak.VerifyTestMain(m)
	case "die":
		panic("out of luck")
	case "bad":
		os.Exit(1)
	case "hang":
		time.Sleep(time.Minute)
	case "flood":
		for range 1000 {
			fmt.Println(strings.Repeat("x", 1<<10))
		}
	default:
		fmt.Println(say)
	}
}

func TestProcessCompiler(t *testing.T) {
	for say, want := range map[string]string{
		`{"kind":"reactor","micros":7,"cached":true}`:                     "",
		`{"error":{"code":"not_wasm","message":"the file is no module"}}`: "not_wasm: the file is no module",
		"die":   "out of luck",
		"hang":  "deadline",
		"bad":   "exit status 1",
		"flood": "read the compiler's answer",
		"{":     "read the compiler's answer",
	} {
		t.Run(say, func(t *testing.T) {
			ctx := t.Context()
			if say == "hang" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			c := NewProcessCompiler(func(ctx context.Context, _, _ string) *exec.Cmd {
				cmd := exec.CommandContext(ctx, "/proc/self/exe")
				cmd.Env = []string{fakeVariable + "=" + say}
				return cmd
			})
			got, err := c.Compile(ctx, "m", "d")
			if want == "" {
				if err != nil || got != (image.Compiled{Kind: "reactor", Micros: 7, Cached: true}) {
					t.Errorf("Compile = %+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not tell %q", err, want)
			}
			fault := strings.HasPrefix(say, `{"error"`) || say == "die"
			if errors.Is(err, image.ErrUnsupported) != fault {
				t.Errorf("error %v blames the wrong one", err)
			}
			if len(c.slots) != 0 {
				t.Error("a slot is still taken")
			}
		})
	}
}

type fixedCompiler struct{ image.Compiled }

func (c fixedCompiler) Evict(context.Context, string) error { return nil }

func (c fixedCompiler) Compile(context.Context, string, string) (image.Compiled, error) {
	return c.Compiled, nil
}

func TestFreshCompilesAreClaimedOnce(t *testing.T) {
	f, times := newFreshCompiles(), &compileTimes{}
	for digest, cached := range map[string]bool{"new": false, "old": true} {
		if _, err := f.noting(fixedCompiler{image.Compiled{Micros: 9, Cached: cached}}, times).Compile(t.Context(), "", digest); err != nil {
			t.Fatal(err)
		}
	}
	if micros, ok := f.claim("new"); micros != 9 || !ok {
		t.Errorf("claim = %d, %v", micros, ok)
	}
	for _, digest := range []string{"new", "old"} {
		if _, ok := f.claim(digest); ok {
			t.Errorf("%s was compiled for nobody who waits", digest)
		}
	}
	for digest, want := range map[string]int64{"new": 9, "old": 2} {
		s := control.Status{}
		if times.settle(&s, digest); s.ColdStart.CompileMicros != 0 {
			t.Error("a cold start that was not measured has a figure")
		}
		s.ColdStart = control.ColdStart{CompileMicros: 2, SnapshotMicros: 1}
		if times.settle(&s, digest); s.ColdStart.CompileMicros != want {
			t.Errorf("%s: compiled in %d, want %d", digest, s.ColdStart.CompileMicros, want)
		}
	}
	for i := range 2 * maxFresh {
		f.note(fmt.Sprint(i), 1)
	}
	if len(f.micros) != maxFresh {
		t.Errorf("%d are remembered", len(f.micros))
	}
}

func TestConfigValidate(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config was taken")
	}
	c := Config{RunnerCommand: func(string) *exec.Cmd { return nil }, Compiler: fixedCompiler{}, Logger: nil, Now: time.Now, Root: "relative"}
	if err := c.Validate(); err == nil {
		t.Error("a config without a logger was taken")
	}
}
