package ebpfproxy

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// init keeps the first thread for the main goroutine: Go never ends that one, so a test that leaves it in a cgroup or in
// a namespace could not clean up.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if args := os.Getenv(agentEnv); args != "" {
		fmt.Fprintln(os.Stderr, "agent:", runAgent(args))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
