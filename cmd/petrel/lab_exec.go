package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/cmd/petrel/client"
	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/lab/machine"
)

// routerName names the router in place of a node: the world outside the cluster, on every link.
const routerName = "router"

// execOutput bounds each stream of a command whose output is told in JSON; a terminal has no bound.
const execOutput = 4 << 20

func newLabExecCommand(o *labOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE -- COMMAND [ARGUMENT...]",
		Short: "Run a command on a node, or on the router",
		Long: `Run a command on a node: in its network, process table, mounts and control groups, with this machine's files. Named
router, it runs in the network of the router between the links, which is the world outside of the cluster. The exit code
is the command's.`,
		Example: "  petrel lab exec node-2 -- ip route\n  petrel lab exec router -- curl http://10.40.1.11:30080/",
		Args:    client.Usage(cobra.MinimumNArgs(2)),
		RunE:    func(_ *cobra.Command, args []string) error { return o.exec(args[0], args[1:]) },
	}
	o.add(cmd)
	return cmd
}

func (o *labOptions) exec(node string, args []string) error {
	s, err := o.read()
	if err != nil {
		return err
	}
	if !s.Alive() {
		return errors.New("the lab is not running: petrel lab down removes what it left")
	}
	cmd := exec.Command(args[0], args[1:]...)
	if cmd.Err != nil {
		return fmt.Errorf("find command: %w", cmd.Err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.In, o.Out, o.Err
	var stdout, stderr limited
	if o.json() {
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
	}
	if err := startOn(s, node, cmd); err != nil {
		return fmt.Errorf("run %s on %s: %w", args[0], node, err)
	}
	code, err := exitCode(cmd.Wait())
	if err != nil {
		return fmt.Errorf("run %s on %s: %w", args[0], node, err)
	}
	if o.json() {
		err = writeJSON(o.Out, map[string]any{"node": node, "exitCode": code, "stdout": stdout.String(), "stderr": stderr.String(),
			"truncated": stdout.cut || stderr.cut})
	}
	if err == nil && code != 0 {
		return client.Exit(code)
	}
	return err
}

func startOn(s *lab.State, node string, cmd *exec.Cmd) error {
	if node == routerName {
		return machine.StartIn(s.Router, cmd)
	}
	n, err := s.Node(node)
	if err != nil {
		return err
	}
	return n.Start(cmd, nil)
}

// exitCode is what a shell would answer.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	const signalled = 128
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalled + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// limited keeps the first bytes of what is written.
type limited struct {
	bytes.Buffer
	cut bool
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	keep := p
	if room := execOutput - l.Len(); len(p) > room {
		keep, l.cut = p[:room], true
	}
	l.Buffer.Write(keep)
	return len(p), nil
}
