package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

func TestLoadRefuses(t *testing.T) {
	e := newEngine(t)
	var refused *module.Error
	if _, err := e.Load(t.Context(), []byte("hello")); !errors.As(err, &refused) || refused.Code != module.CodeNotWasm {
		t.Errorf("no module: %v", err)
	}
	// The structure is fine, the instructions are not: it is told each time, and nothing is kept.
	invalid := moduletest.Build(moduletest.Command([]byte{0x41, 1})) // leaves a value on the stack
	for range 2 {
		if _, err := e.Load(t.Context(), invalid); !errors.As(err, &refused) || refused.Code != module.CodeInvalid {
			t.Errorf("an invalid module: %v", err)
		}
	}
	if _, err := New(t.Context(), Config{CacheDir: "relative"}); err == nil {
		t.Error("a relative cache directory is accepted")
	}
}

func TestLoadSharesOneProgram(t *testing.T) {
	e := newEngine(t)
	wasm := moduletest.Exit(5)
	const loads = 16
	templates := make([]*Template, loads)
	var wg sync.WaitGroup
	for i := range templates {
		wg.Go(func() {
			tmpl, err := e.Load(t.Context(), wasm)
			if err != nil {
				t.Error(err)
				return
			}
			templates[i] = tmpl
		})
	}
	wg.Wait()
	for _, tmpl := range templates[1:] {
		if tmpl.program != templates[0].program {
			t.Fatal("concurrent loads of one digest made two programs")
		}
		if err := tmpl.Close(); err != nil {
			t.Error(err)
		}
	}
	if code, err := templates[0].Run(t.Context(), Spec{}); code != 5 || err != nil {
		t.Errorf("after the others were closed: %d, %v", code, err)
	}
	_ = templates[0].Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.programs) != 0 {
		t.Errorf("%d programs are left after the last Close", len(e.programs))
	}
}

// A template may be closed while its command runs.
func TestCloseUnderRun(t *testing.T) {
	e := newEngine(t)
	tmpl, err := e.Load(t.Context(), moduletest.Sleep(100))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := tmpl.Run(t.Context(), Spec{})
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := tmpl.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLoadGivesUp(t *testing.T) {
	e := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // whether the compilation or the context is seen first is open
		if tmpl, err := e.Load(ctx, moduletest.Exit(9)); err == nil {
			_ = tmpl.Close()
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.Load(t.Context(), moduletest.Exit(9)); !errors.Is(err, ErrClosed) {
		t.Errorf("load after Close: %v", err)
	}
}

// A cache that cannot be written to costs time, not the load.
func TestLoadWithoutRoomForCode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, cacheOptions), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), Config{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	tmpl := load(t, e, moduletest.Exit(4))
	if code, err := tmpl.Run(t.Context(), Spec{}); code != 4 || err != nil || tmpl.Cached() {
		t.Errorf("code %d, %v, cached %v", code, err, tmpl.Cached())
	}
}

// What package module checks imports against is what the engine serves, name by name.
func TestServedTableIsTrue(t *testing.T) {
	for name, served := range map[string]map[string]wasi.Function{module.WASIModule: wasi.Functions(), module.NetModule: wasi.NetFunctions()} {
		for fn := range served {
			if _, ok := module.ServedType(name, fn); !ok {
				t.Errorf("the engine serves %s.%s, and the table does not know it", name, fn)
			}
		}
		for _, fn := range module.ServedFunctions(name) {
			if served[fn] == nil {
				t.Errorf("the table has %s.%s, and the engine does not serve it", name, fn)
			}
		}
	}
}

// A guest in an endless loop does not hold up Go's collector, which would stop every other guest too.
func TestLoopLetsTheCollectorRun(t *testing.T) {
	tmpl := load(t, newEngine(t), moduletest.Build(moduletest.Command(moduletest.Loop)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = tmpl.Run(ctx, Spec{})
	}()
	time.Sleep(50 * time.Millisecond)
	for range 3 {
		start := time.Now()
		runtime.GC()
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("a collection took %s beside a looping guest", took)
		}
	}
	cancel()
	<-done
}

func TestProvide(t *testing.T) {
	e := newEngine(t)
	if err := e.Provide(HostModule{Name: module.HTTPModule}); err == nil {
		t.Error("a host module without its functions is accepted")
	}
	if _, err := load(t, e, moduletest.Build(moduletest.Reactor(nil))).Instantiate(t.Context(), Spec{}); err == nil {
		t.Error("a reactor is instantiated without its host module")
	}
}
