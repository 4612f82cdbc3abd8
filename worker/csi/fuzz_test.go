package csi

import (
	"os"
	"path/filepath"
	"testing"
)

func FuzzRecord(f *testing.F) {
	for _, s := range []string{"", "{}", `{"driver":"d","handle":"h","stage":"/s"}`, `{"driver":1}`, "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, recordName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := readRecord(dir); err == nil && (r == nil || r.Driver == "" || r.Handle == "") {
			t.Errorf("%q was read as %+v", content, r)
		}
	})
}
