package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

func request(t *testing.T, wasm []byte) Request {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(wasm)
	return Request{CacheDir: filepath.Join(dir, "cache"), ModulePath: path, Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

func TestRunCompilesOnceUntilEvicted(t *testing.T) {
	r := request(t, wasmtest.Serve("x", "", 0))
	for _, cached := range []bool{false, true, false} {
		if !cached {
			if _, err := Evict(t.Context(), r); err != nil { // the first time there is nothing
				t.Fatal(err)
			}
		}
		got, err := Run(t.Context(), r)
		if err != nil || got.Error != nil || got.Kind != "reactor" || got.Cached != cached || got.Micros <= 0 {
			t.Errorf("Run = %+v, %v; want cached %v", got, err, cached)
		}
	}
}

func TestRunSaysWhyAModuleIsRefused(t *testing.T) {
	got, err := Run(t.Context(), request(t, []byte("#!/bin/sh\n")))
	if err != nil || got.Error == nil || got.Error.Code != "not_wasm" || got.Error.Message == "" {
		t.Errorf("Run = %+v, %v", got, err)
	}
	broken := wasmtest.Trap()
	got, err = Run(t.Context(), request(t, broken[:len(broken)-5]))
	if err != nil || got.Error == nil || got.Error.Code == "" {
		t.Errorf("Run = %+v, %v", got, err)
	}
}

func TestRunTellsTheMachinesFaultsApart(t *testing.T) {
	r := request(t, wasmtest.Trap())
	r.Digest = "sha256:other"
	if _, err := Run(t.Context(), r); err == nil {
		t.Error("another module than was asked for was compiled")
	}
	r.ModulePath += "x"
	if _, err := Run(t.Context(), r); err == nil {
		t.Error("nothing was compiled")
	}
}
