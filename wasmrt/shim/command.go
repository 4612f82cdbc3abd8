package shim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// RuntimeType is what containerd's configuration calls this shim.
const RuntimeType = "io.containerd.petrel.v1"

// Main is the shim's program.
type Main struct {
	Version string
	Getenv  func(string) string
	// Getwd answers the bundle's directory, in which containerd starts shims.
	Getwd  func() (string, error)
	Stdout io.Writer
	Stderr io.Writer
	// Self makes the command of this very program under a name.
	Self func(name string, args ...string) *exec.Cmd
	// Runtime makes the command of the runtime's server, and Stop the one that ends the runners that it left.
	Runtime func(root, socket string, flags []string) *exec.Cmd
	Stop    func(ctx context.Context, root string) *exec.Cmd
}

// call is what containerd asks for on the command line.
type call struct {
	namespace, address, publish, id, bundle string
	debug, info, version                    bool
}

// Run does what the arguments say and answers the exit code. containerd reads both streams of start, so success prints
// nothing but the answer.
func (m *Main) Run(ctx context.Context, args []string) int {
	if err := m.run(ctx, args); err != nil {
		fmt.Fprintf(m.Stderr, "%s: %v\n", Program, err)
		return 1
	}
	return 0
}

func (m *Main) run(ctx context.Context, args []string) error {
	var c call
	flags := flag.NewFlagSet(Program, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.namespace, "namespace", "", "namespace of containerd")
	flags.StringVar(&c.address, "address", "", "socket of containerd")
	flags.StringVar(&c.publish, "publish-binary", "", "not used: events go to containerd's socket")
	flags.StringVar(&c.id, "id", "", "id of the container")
	flags.StringVar(&c.bundle, "bundle", "", "directory of the container, for delete")
	flags.BoolVar(&c.debug, "debug", false, "log more")
	flags.BoolVar(&c.info, "info", false, "describe the runtime")
	flags.BoolVar(&c.version, "v", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; containerd calls this program, see docs/shim.md", err)
	}
	switch {
	case c.version:
		_, err := fmt.Fprintln(m.Stdout, Program, m.Version)
		return err
	case c.info:
		return m.print(&types.RuntimeInfo{Name: RuntimeType, Version: &types.RuntimeVersion{Version: m.Version}})
	}
	p, err := newPlace(m.Getenv, c.address, c.namespace)
	if err != nil {
		return err
	}
	switch action := flags.Arg(0); action {
	case "start":
		return m.start(ctx, p, &c)
	case "delete":
		return m.delete(ctx, p, &c)
	case actionDaemon:
		return m.daemon(ctx, p, &c)
	case "":
		return errors.New("an action is required, start or delete; containerd calls this program, see docs/shim.md")
	default:
		return fmt.Errorf("action %q is none: start and delete are", action)
	}
}

// print answers containerd a message.
func (m *Main) print(message proto.Message) error {
	raw, err := proto.Marshal(message)
	if err == nil {
		_, err = m.Stdout.Write(raw)
	}
	return err
}

// deleted answers how what was deleted had ended: nobody saw it, so as if it was killed.
func (m *Main) deleted(now *timestamppb.Timestamp) error {
	const killed = 128 + 9
	return m.print(&taskapi.DeleteResponse{ExitStatus: killed, ExitedAt: now})
}
