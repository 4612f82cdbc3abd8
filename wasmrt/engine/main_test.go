package engine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"go.uber.org/goleak"
)

// sharedCache keeps the machine code of large guests for all tests of a run.
var sharedCache string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "petrel-engine")
	if err != nil {
		panic(err)
	}
	sharedCache = filepath.Join(dir, "cache")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// newEngine makes an engine whose cache is the test's own.
func newEngine(t testing.TB) *Engine {
	t.Helper()
	return newEngineAt(t, filepath.Join(t.TempDir(), "cache"))
}

// loadLarge loads a guest that takes long to compile, once for all tests.
func loadLarge(t testing.TB, wasm []byte) *Template {
	t.Helper()
	moduletest.Precompile(t, sharedCache, wasm)
	return load(t, newEngineAt(t, sharedCache), wasm)
}

func newEngineAt(t testing.TB, cacheDir string) *Engine {
	t.Helper()
	e, err := New(t.Context(), Config{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.programs) > 0 {
			t.Errorf("%d programs are still referenced", len(e.programs))
		}
	})
	return e
}

func load(t testing.TB, e *Engine, wasm []byte) *Template {
	t.Helper()
	tmpl, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tmpl.Close() })
	return tmpl
}

// run runs a command and returns what it wrote.
func run(t *testing.T, ctx context.Context, wasm []byte, spec Spec) (code uint32, stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &errOut
	code, err = load(t, newEngine(t), wasm).Run(ctx, spec)
	return code, out.String(), errOut.String(), err
}

func TestRunExitCodes(t *testing.T) {
	for _, want := range []int32{0, 1, 42, 255} {
		code, _, _, err := run(t, t.Context(), moduletest.Exit(want), Spec{})
		if err != nil || code != uint32(want) {
			t.Errorf("exit %d: code %d, %v", want, code, err)
		}
	}
	// Leaving _start is a success.
	if code, _, _, err := run(t, t.Context(), moduletest.Build(moduletest.Command(nil)), Spec{}); code != 0 || err != nil {
		t.Errorf("return: code %d, %v", code, err)
	}
	if code, out, _, err := run(t, t.Context(), moduletest.Print("hello\n"), Spec{}); code != 0 || out != "hello\n" || err != nil {
		t.Errorf("print: code %d, %q, %v", code, out, err)
	}
}

func TestRunTraps(t *testing.T) {
	named := moduletest.Command(moduletest.Call(5))
	named.Name = "calc"
	named.Funcs = append(named.Funcs, moduletest.Func{Name: "divide", Body: moduletest.DivideZero})
	nameless := named
	nameless.NoNames = true
	aborting := moduletest.Command(moduletest.Call(5))
	aborting.Funcs = append(aborting.Funcs, moduletest.Func{Name: "check", Body: moduletest.Call(6)}, moduletest.Func{Name: "abort", Body: moduletest.Unreachable})
	recursive := moduletest.Command(moduletest.Call(4))
	zero := uint32(4)
	starting := moduletest.Command(nil)
	starting.StartFunc = &zero
	starting.Funcs[0].Body = moduletest.Unreachable
	tests := []struct {
		name     string
		wasm     []byte
		function string
		reason   string
	}{
		{"named", moduletest.Build(named), "divide", "integer divide by zero"},
		{"nameless", moduletest.Build(nameless), "function 5", "integer divide by zero"},
		{"abort is not the place", moduletest.Build(aborting), "check", "unreachable"},
		{"recursion", moduletest.Build(recursive), "_start", "call depth exceeded"},
		{"start section", moduletest.Build(starting), "_start", "unreachable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr, err := run(t, t.Context(), tt.wasm, Spec{})
			var trap *TrapError
			if !errors.As(err, &trap) {
				t.Fatalf("code %d, %v, want a trap", code, err)
			}
			if code != ExitTrap || trap.Function != tt.function || trap.Reason != tt.reason {
				t.Errorf("code %d, function %q, reason %q, want %d, %q, %q", code, trap.Function, trap.Reason, ExitTrap, tt.function, tt.reason)
			}
			if !strings.Contains(stderr, tt.reason) || !strings.Contains(stderr, tt.function) {
				t.Errorf("stderr %q does not tell it", stderr)
			}
		})
	}
}

// blocked never has anything to read and never takes anything, until the test ends.
type blocked struct{ end <-chan struct{} }

func (b blocked) Read([]byte) (int, error)  { <-b.end; return 0, errors.New("ended") }
func (b blocked) Write([]byte) (int, error) { <-b.end; return 0, errors.New("ended") }

func TestRunIsKilled(t *testing.T) {
	var loop = moduletest.Build(moduletest.Command(moduletest.Loop))
	end := make(chan struct{})
	defer close(end)
	tests := []struct {
		name string
		wasm []byte
		spec Spec
	}{
		{"in a loop", loop, Spec{}},
		{"in a sleep", moduletest.Sleep(3_600_000), Spec{}},
		{"in a read", moduletest.ReadStdin(), Spec{Stdin: blocked{end}}},
		{"in a write", moduletest.Print("x"), Spec{Stdout: blocked{end}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl := load(t, newEngine(t), tt.wasm)
			cause := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
			defer cancel()
			start := time.Now()
			code, err := tmpl.Run(ctx, tt.spec)
			if code != ExitKilled || !errors.Is(err, cause) {
				t.Errorf("code %d, %v, want %d and the cause", code, err, ExitKilled)
			}
			var killed *KilledError
			if !errors.As(err, &killed) {
				t.Errorf("%T, want *KilledError", err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s to die", took)
			}
		})
	}
}

func TestRunBeforeAndAfter(t *testing.T) {
	tmpl := load(t, newEngine(t), moduletest.Exit(0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := tmpl.Run(ctx, Spec{}); code != ExitKilled || !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: code %d, %v", code, err)
	}
	if err := errors.Join(tmpl.Close(), tmpl.Close()); err != nil {
		t.Error(err)
	}
	if code, err := tmpl.Run(t.Context(), Spec{}); code != ExitNotStarted || !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: code %d, %v", code, err)
	}
}

func TestRunMemory(t *testing.T) {
	const page = module.PageSize
	grow := moduletest.Build(moduletest.Command(moduletest.GrowOrTrap()))
	code, _, stderr, err := run(t, t.Context(), grow, Spec{MemoryLimit: 10*page + 5})
	var memory *MemoryError
	if code != ExitKilled || !errors.As(err, &memory) {
		t.Fatalf("code %d, %v, want a memory error", code, err)
	}
	if memory.Limit != 10*page || memory.Need != 11*page {
		t.Errorf("limit %d, need %d, want 10 and 11 pages", memory.Limit, memory.Need)
	}
	if !strings.Contains(stderr, "limit is 0.6 MiB") {
		t.Errorf("stderr %q", stderr)
	}

	// What exits by itself keeps its code.
	exits := moduletest.Build(moduletest.Command(moduletest.Then(moduletest.Grow(100), moduletest.Const(7), moduletest.Call(0))))
	if code, _, _, err := run(t, t.Context(), exits, Spec{MemoryLimit: 10 * page}); code != 7 || !errors.As(err, &memory) {
		t.Errorf("exit after a refusal: code %d, %v", code, err)
	}
	if code, _, _, err := run(t, t.Context(), exits, Spec{MemoryLimit: 101 * page}); code != 7 || err != nil {
		t.Errorf("exit under the limit: code %d, %v", code, err)
	}

	big := moduletest.Command(nil)
	big.Pages = 20
	if code, _, _, err := run(t, t.Context(), moduletest.Build(big), Spec{MemoryLimit: 10 * page}); code != ExitKilled || !errors.As(err, &memory) || memory.Need != 20*page {
		t.Errorf("too large from the start: code %d, %v", code, err)
	}
	// The module's own maximum is not the pod's limit.
	own := moduletest.Command(moduletest.GrowOrTrap())
	own.MaxPages = 3
	var trap *TrapError
	if code, _, _, err := run(t, t.Context(), moduletest.Build(own), Spec{}); code != ExitTrap || !errors.As(err, &trap) || errors.As(err, &memory) {
		t.Errorf("over its own maximum: code %d, %v", code, err)
	}
}

func TestRunRefusesReactors(t *testing.T) {
	e := newEngine(t)
	if _, err := load(t, e, moduletest.Build(moduletest.Reactor(nil))).Run(t.Context(), Spec{}); err == nil {
		t.Error("a reactor is run")
	}
	if _, err := load(t, e, moduletest.Exit(0)).Instantiate(t.Context(), Spec{}); err == nil {
		t.Error("a command is instantiated")
	}
}

func TestSpecValidate(t *testing.T) {
	bad := []Spec{
		{Args: []string{"a\x00b"}},
		{Env: []string{"NOVALUE"}},
		{Env: []string{"=x"}},
		{Args: []string{strings.Repeat("x", MaxArgumentBytes)}},
	}
	tmpl := load(t, newEngine(t), moduletest.Exit(0))
	for _, spec := range bad {
		if code, err := tmpl.Run(t.Context(), spec); code != ExitNotStarted || err == nil {
			t.Errorf("a bad spec runs: code %d, %v", code, err)
		}
	}
}
