package containerd

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// shimName has the test's program be a process that calls itself a shim.
const shimName = "containerd-shim-test-v1"

func TestMain(m *testing.M) {
	if os.Args[0] == shimName {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if os.Args[0] == tiedName {
		if err := beTied(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
