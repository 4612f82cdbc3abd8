package toolchain

import (
	"bytes"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
)

var empty = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

func TestWithCustomSection(t *testing.T) {
	got := WithCustomSection(empty, "release", []byte{1, 2})
	want := append(append([]byte(nil), empty...), 0, 10, 7, 'r', 'e', 'l', 'e', 'a', 's', 'e', 1, 2)
	if !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if len(empty) != 8 {
		t.Error("the module was changed")
	}
}

// TestWithImport reads the module back with the reader that the cluster uses: it must see the import, and nothing
// else wrong.
func TestWithImport(t *testing.T) {
	_, err := module.Check(WithImport("env", "frobnicate"), module.Limits{})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("frobnicate")) {
		t.Errorf("the reader says %v", err)
	}
}

// TestHostileModules reads each with the same reader: it must stumble over what it is meant to stumble over.
func TestHostileModules(t *testing.T) {
	for name, c := range map[string]struct {
		wasm []byte
		says string
	}{
		"imports": {WithImports("env", "f", 200_000), "imports"},
		"table":   {WithTable(1 << 31), "table"},
		"memory":  {WithMemory(1 << 17), "memory"},
		"section": {WithSectionSize(1 << 30), "section"},
	} {
		_, err := module.Check(c.wasm, module.Limits{})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.says)) {
			t.Errorf("%s: the reader says %v", name, err)
		}
	}
}
