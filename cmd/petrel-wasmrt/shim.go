package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/petrelrun/petrel/wasmrt/shim"
)

// program is the name that processes of ours have.
const program = "petrel-wasmrt"

// shimProgram is the whole program where containerd executes it by the shim's name; false elsewhere.
func shimProgram(ctx context.Context, args []string) (code int, is bool) {
	if len(args) == 0 || filepath.Base(args[0]) != shim.Program {
		return 0, false
	}
	m := &shim.Main{
		Version: version, Getenv: os.Getenv, Getwd: os.Getwd, Stdout: os.Stdout, Stderr: os.Stderr,
		Self: func(name string, args ...string) *exec.Cmd {
			cmd := exec.Command(self, args...)
			cmd.Args[0] = name
			return cmd
		},
		Runtime: func(root, socket string, flags []string) *exec.Cmd {
			cmd := exec.Command(self, append([]string{"serve", "--root", root, "--socket", socket, "--trust-annotations"}, flags...)...)
			cmd.Args[0] = program
			return cmd
		},
		Stop: func(ctx context.Context, root string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, self, "stop", "--root", root, "--grace", "0s")
			cmd.Args[0] = program
			return cmd
		},
	}
	return m.Run(ctx, args[1:]), true
}
