package client

import (
	"errors"
	"os/exec"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are those that the scenarios add to testscript's.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	// exits CODE COMMAND... runs a command that has to end with the code.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		want, err := strconv.Atoi(args[0])
		if neg || err != nil {
			ts.Fatalf("usage: exits CODE COMMAND...")
		}
		err = ts.Exec(args[1], args[2:]...)
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			ts.Fatalf("%v", err)
		}
		if code != want {
			ts.Fatalf("exit code %d, want %d\n%s%s", code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	},
	// waitpod NAME waits until the pod is there.
	"waitpod": func(ts *testscript.TestScript, _ bool, args []string) {
		for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if ts.Exec("petrel", "logs", "pod/"+args[0]) == nil {
				return
			}
		}
		ts.Fatalf("pod %s did not come", args[0])
	},
}
