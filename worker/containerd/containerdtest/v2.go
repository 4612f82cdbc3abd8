package containerdtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// V2 builds containerd 2.x from the module test/containerd2, once a process, and answers the program's path. What is built
// stays in bin/tools for the next time.
func V2(tb testing.TB) string {
	tb.Helper()
	need(tb)
	dir, err := buildV2()
	if err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(dir, "containerd")
}

var buildV2 = sync.OnceValues(func() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	dir := filepath.Join(root, "bin", "tools", "containerd2")
	script := filepath.Join(root, "test", "containerd2", "build.sh")
	cmd := exec.Command(script, dir)
	cmd.Stderr = os.Stderr
	return dir, cmd.Run()
})
