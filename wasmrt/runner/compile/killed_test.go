package compile

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// The environment that makes this test's binary a process that compiles and ends.
const (
	modulePathEnv = "PETREL_TEST_COMPILE_MODULE"
	cacheDirEnv   = "PETREL_TEST_COMPILE_CACHE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(modulePathEnv); path != "" {
		if _, err := Run(context.Background(), Request{CacheDir: os.Getenv(cacheDirEnv), ModulePath: path}); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// large is a module that takes some ten milliseconds to compile.
func large() []byte {
	m := moduletest.Command(nil)
	body := []byte{}
	for i := range int32(100) {
		body = append(body, moduletest.Then(moduletest.Const(i), moduletest.Const(i*8), []byte{0x36, 0, 0})...)
	}
	for range 30 {
		m.Funcs = append(m.Funcs, moduletest.Func{Body: body})
	}
	return moduletest.Build(m)
}

// A process killed at any moment leaves a whole entry or none, and the next one is not hindered.
func TestKilledAtAnyTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	wasm := large()
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := module.Check(wasm, module.Limits{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := compiler(t, path, filepath.Join(dir, "whole")).Run(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	const moments = 10
	made := 0
	for i := range moments {
		cache := filepath.Join(dir, "cache", string(rune('a'+i)))
		cmd := compiler(t, path, cache)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(whole * 3 / 2 * time.Duration(i+1) / moments)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if usable(t, cache, wasm) {
			made++
		}
		got, err := Run(t.Context(), Request{CacheDir: cache, ModulePath: path})
		if err != nil || got.Error != nil {
			t.Errorf("after a kill at %d/%d: %+v, %v", i+1, moments, got, err)
		}
		if !usable(t, cache, wasm) {
			t.Errorf("after a kill at %d/%d the entry cannot be made", i+1, moments)
		}
	}
	t.Logf("%d of %d were done before they were killed", made, moments)
}

func compiler(t *testing.T, path, cache string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), modulePathEnv+"="+path, cacheDirEnv+"="+cache)
	return cmd
}

// usable tells whether a runner would find the module's code. What is there must not be damaged.
func usable(t *testing.T, cache string, wasm []byte) bool {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Config{CacheDir: cache, ReadOnlyCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tmpl, err := e.Load(t.Context(), wasm)
	if e.CacheRefusals() > 0 {
		t.Errorf("half an entry was left: %v", err)
	}
	return err == nil && tmpl.Close() == nil
}
