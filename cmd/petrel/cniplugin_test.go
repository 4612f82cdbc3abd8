package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// pluginLimit ends a program that does not find out that it is a plugin.
const pluginLimit = time.Minute

// late are packages that take their time, or come after others that do.
var late = []string{"net", "net/http", "regexp", "k8s.io/client-go/kubernetes/scheme", "go.etcd.io/etcd/server/v3/storage/mvcc", "google.golang.org/grpc"}

// TestPluginRunsBeforeTheRestIsInitialised executes this test's program, which has all of petrel in it, by the plugins'
// names: they answer before any of what petrel needs for the rest is initialised. That takes ten times as long as they
// do, and a container's start waits for both.
func TestPluginRunsBeforeTheRestIsInitialised(t *testing.T) {
	for _, name := range []string{plugin.Name, plugin.LoopbackName} {
		out, initialised := initialisation(t, name)
		if !strings.Contains(out, `"supportedVersions"`) || !initialised("runtime") {
			t.Fatalf("%s printed %s", name, out)
		}
		for _, pkg := range late {
			if initialised(pkg) {
				t.Errorf("%s ran after %s was initialised", name, pkg)
			}
		}
	}
	_, initialised := initialisation(t, "petrel", "-test.run=^$")
	for _, pkg := range late {
		if !initialised(pkg) {
			t.Errorf("%s is no package that petrel initialises: name another", pkg)
		}
	}
}

// initialisation executes this program by a name and answers what it printed, and which packages it initialised.
func initialisation(t *testing.T, name string, args ...string) (printed string, initialised func(pkg string) bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(exe, path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), pluginLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"CNI_COMMAND=VERSION", "GODEBUG=inittrace=1"}
	var out, trace bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trace
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, &out, &trace)
	}
	return out.String(), func(pkg string) bool { return strings.Contains(trace.String(), "init "+pkg+" @") }
}
