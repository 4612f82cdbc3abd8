package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// TestStoppedContainersKeepNoMountOpen: whoever stopped a container may unmount what it had, though others of its module
// run on, and clones of the same snapshot serve.
func TestStoppedContainersKeepNoMountOpen(t *testing.T) {
	w := newWorld(t)
	var all []control.CreateParams
	var dirs []string
	for range 3 {
		p := w.params(wasmtest.Serve("hello", "", 0))
		dir := t.TempDir()
		p.Mounts = []control.Mount{{HostPath: dir, GuestPath: "/data"}}
		w.launch(p)
		for range 3 {
			if code, _, err := get(t.Context(), url(p)); err != nil || code != 200 {
				t.Fatalf("it answers %d, %v", code, err)
			}
		}
		all, dirs = append(all, p), append(dirs, dir)
	}
	for i, p := range all[:2] { // the first one's requests made the snapshot
		w.must(control.MethodStop, control.StopParams{ID: p.ID})
		if open := openBelow(t, dirs[i]); len(open) > 0 {
			t.Errorf("after the stop of container %d there are open: %q", i, open)
		}
	}
	if len(openBelow(t, dirs[2])) == 0 {
		t.Error("what serves has nothing open: this test sees nothing")
	}
}

// openBelow lists what this process has open at a directory or below it.
func openBelow(t *testing.T, dir string) (open []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && (to == dir || filepath.Dir(to) == dir) {
			open = append(open, fmt.Sprintf("%s: %s", fd, to))
		}
	}
	return open
}
