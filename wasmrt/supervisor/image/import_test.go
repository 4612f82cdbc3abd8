package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestImport(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "m.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := w.puller.Import(context.Background(), "local.test/modules:a", file)
	if err != nil {
		t.Fatal(err)
	}
	if i.Layout != layoutArtifact || i.Module != sum(wasm) || i.ModuleSize != int64(len(wasm)) || len(i.RepoTags) != 1 || i.RepoTags[0] != "local.test/modules:a" {
		t.Errorf("image %+v", i)
	}
	if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || string(got) != string(wasm) {
		t.Errorf("stored %q, %v", got, err)
	}

	copied := filepath.Join(dir, "copy.wasm")
	if err := os.WriteFile(copied, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := w.puller.Import(context.Background(), "local.test/modules:b", copied)
	if err != nil || again.ID != i.ID || len(again.RepoTags) != 2 {
		t.Errorf("the same module in another file is %+v, %v", again, err)
	}
	if unused, err := w.store.Remove("local.test/modules:b"); err != nil || unused != sum(wasm) {
		t.Errorf("removed: %q, %v", unused, err)
	}
	if _, err := os.Stat(w.store.ModulePath(i)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the module of a removed image is there: %v", err)
	}
}

func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	big, fifo := filepath.Join(dir, "big"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, MaxModule+1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ref, path string
		want      error
	}{
		"no such file": {"local.test/m:a", filepath.Join(dir, "none"), ErrNotFound},
		"directory":    {"local.test/m:a", dir, ErrUnsupported},
		"pipe":         {"local.test/m:a", fifo, ErrUnsupported},
		"too large":    {"local.test/m:a", big, ErrTooLarge},
		"digest":       {"local.test/m@" + sum(wasm), big, ErrReference},
		"no name":      {"A B", big, ErrReference},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.puller.Import(context.Background(), tt.ref, tt.path); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	if got := w.store.List(""); len(got) != 0 {
		t.Errorf("images %v", got)
	}
	w.puller.Close()
	file := filepath.Join(dir, "m.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.puller.Import(context.Background(), "local.test/m:a", file); !errors.Is(err, context.Canceled) {
		t.Errorf("after Close: %v", err)
	}
}
