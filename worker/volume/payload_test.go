package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
)

func contents(pairs ...string) map[string]file {
	out := map[string]file{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = file{[]byte(pairs[i+1]), defaultMode}
	}
	return out
}

// renew replaces the content and tells whether there was something to do.
func renew(t *testing.T, dir string, files map[string]file) bool {
	t.Helper()
	changed, err := replace(dir, files, group{id: noGroup})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestReplaceFollowsWhatChanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v")
	for _, step := range []struct {
		files   map[string]file
		changed bool
		names   []string
	}{
		{contents("a", "1", "deep/er/b", "2"), true, []string{"a", "deep"}},
		{contents("a", "1", "deep/er/b", "2"), false, []string{"a", "deep"}},
		{contents("a", "2", "deep/er/b", "2"), true, []string{"a", "deep"}},
		{contents("a", "2", "c", "3"), true, []string{"a", "c"}},
		{contents("a/inner", "4"), true, []string{"a"}}, // a file that becomes a directory
		{contents("a", "5"), true, []string{"a"}},       // and back
		{map[string]file{"a": {[]byte("5"), 0o600}}, true, []string{"a"}},
		{contents(), true, nil},
		{contents(), false, nil},
	} {
		if got := renew(t, dir, step.files); got != step.changed {
			t.Errorf("%v: changed = %v, want %v", step.files, got, step.changed)
		}
		if got := visible(t, dir); !slices.Equal(got, step.names) {
			t.Errorf("%v: names %v, want %v", step.files, got, step.names)
		}
		for name, f := range step.files {
			if got := read(t, filepath.Join(dir, name)); got != string(f.content) {
				t.Errorf("%s = %q, want %q", name, got, f.content)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != f.mode {
				t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, f.mode)
			}
		}
		if entries, _ := os.ReadDir(dir); len(entries) != len(step.names)+2 { // the link and one version
			t.Errorf("%v: an old version is left: %v", step.files, entries)
		}
	}
}

// What a killed worker leaves at any point is mended by the next attempt.
func TestReplaceMendsWhatWasInterrupted(t *testing.T) {
	files := contents("a", "1", "b", "2")
	for name, spoil := range map[string]func(dir string){
		"half a version":   func(dir string) { _ = os.MkdirAll(dir+"/..v2/a", 0o755) },
		"next link":        func(dir string) { _ = os.Symlink("..v9", dir+"/..data_next") },
		"no names":         func(dir string) { _ = os.Remove(dir + "/a") },
		"another link":     func(dir string) { _ = os.Remove(dir + "/a"); _ = os.Symlink("/etc/passwd", dir+"/a") },
		"a file":           func(dir string) { _ = os.Remove(dir + "/a"); _ = os.WriteFile(dir+"/a", nil, 0o644) },
		"version is gone":  func(dir string) { _ = os.RemoveAll(dir + "/..v1") },
		"strange link":     func(dir string) { _ = os.Remove(dir + "/..data"); _ = os.Symlink("../..", dir+"/..data") },
		"no link":          func(dir string) { _ = os.Remove(dir + "/..data") },
		"a file too many":  func(dir string) { _ = os.WriteFile(dir+"/..v1/c", nil, 0o644) },
		"a file too few":   func(dir string) { _ = os.Remove(dir + "/..v1/b") },
		"mode was changed": func(dir string) { _ = os.Chmod(dir+"/..v1/b", 0o777) },
	} {
		dir := filepath.Join(t.TempDir(), "v")
		renew(t, dir, files)
		spoil(dir)
		renew(t, dir, files)
		if got := visible(t, dir); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: names %v", name, got)
		}
		if a, b := read(t, dir+"/a"), read(t, dir+"/b"); a != "1" || b != "2" {
			t.Errorf("%s: a = %q, b = %q", name, a, b)
		}
	}
}

// A reader that takes the directory of ..data sees one version of all files, never a mixture.
func TestReplaceIsAtomic(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v")
	version := func(n int) map[string]file {
		files := map[string]file{}
		for _, name := range []string{"a", "b", "c", "d"} {
			files[name] = file{[]byte(fmt.Sprint(n)), defaultMode}
		}
		return files
	}
	renew(t, dir, version(0))
	const rounds = 300
	done := make(chan struct{})
	var looks, mixed int
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			seen := map[string]bool{}
			at, err := os.OpenRoot(filepath.Join(dir, dataLink))
			if errors.Is(err, fs.ErrNotExist) {
				continue // the link was followed, and what it led to was an old version by then
			}
			if err != nil {
				t.Error(err)
				return
			}
			whole := true
			for _, name := range []string{"a", "b", "c", "d"} {
				content, err := at.ReadFile(name)
				whole = whole && err == nil // an old version may go while it is being read
				seen[string(content)] = true
			}
			_ = at.Close()
			if whole {
				looks++
				if len(seen) != 1 {
					mixed++
				}
			}
			if _, err := os.ReadFile(filepath.Join(dir, "a")); err != nil && !strings.Contains(err.Error(), "no such file") {
				t.Error(err)
			}
			select {
			case <-done:
				if looks > 0 {
					return
				}
			default:
			}
		}
	})
	for n := range rounds {
		renew(t, dir, version(n+1))
	}
	close(done)
	reader.Wait()
	if looks == 0 || mixed != 0 {
		t.Errorf("%d whole looks, %d of them mixed", looks, mixed)
	}
}

func TestRenew(t *testing.T) {
	source := objects{"cm": {"a": []byte("1")}, "s": {"k": []byte("x")}}
	p := podWith(map[string]corev1.VolumeSource{
		"cm": configMap("cm"), "empty": {EmptyDir: &corev1.EmptyDirVolumeSource{}},
		"s": {Secret: &corev1.SecretVolumeSource{SecretName: "s"}},
	})
	m, dir := &Maker{Source: source}, t.TempDir()
	if _, err := m.Make(t.Context(), p, dir, env.Facts{}); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/empty/mine", "kept")
	if changed, err := m.Renew(t.Context(), p, dir, env.Facts{}); err != nil || len(changed) != 0 {
		t.Errorf("nothing new: %v, %v", changed, err)
	}
	source["cm"] = map[string][]byte{"a": []byte("2"), "b": []byte("3")}
	if changed, err := m.Renew(t.Context(), p, dir, env.Facts{}); err != nil || !slices.Equal(changed, []string{"cm"}) {
		t.Errorf("changed %v, %v", changed, err)
	}
	if a, b, mine := read(t, dir+"/cm/a"), read(t, dir+"/cm/b"), read(t, dir+"/empty/mine"); a != "2" || b != "3" || mine != "kept" {
		t.Errorf("a = %q, b = %q, mine = %q", a, b, mine)
	}
	// What is gone from the API stays with those who have it, also for a worker that begins anew.
	delete(source, "cm")
	if _, err := m.Renew(t.Context(), p, dir, env.Facts{}); err == nil || !strings.Contains(err.Error(), `renew volume "cm": configmap "cm" not found`) {
		t.Errorf("error %v", err)
	}
	if _, err := m.Make(t.Context(), p, dir, env.Facts{}); err != nil {
		t.Error(err)
	}
	if a := read(t, dir+"/cm/a"); a != "2" {
		t.Errorf("a = %q", a)
	}
}
