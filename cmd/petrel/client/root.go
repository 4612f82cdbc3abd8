package client

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// NewRoot makes the petrel command of this package's commands and more.
func NewRoot(version string, streams Streams, more ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "petrel",
		Short: "Deploy WebAssembly and run it",
		Long: `Petrel runs WebAssembly programs: deploy a module, get a URL.

  petrel up                     start a cluster of one node on this machine
  petrel deploy hello.wasm      deploy a module as an app
  petrel run task.wasm -- args  run a module once

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no server, 4 refused, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// A bare "petrel" helps; "petrel depoly" is an error, with what was meant.
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(more...)
	for _, make := range []func(Streams) *cobra.Command{
		newDeployCommand, newListCommand, newLogsCommand, newFlowsCommand, newRemoveCommand, newRunCommand, newExplainCommand,
		newKubeconfigCommand, newTokenCommand,
	} {
		root.AddCommand(make(streams))
	}
	root.AddCommand(newVersionCommand(streams, version))
	return root
}

// Run executes the command line and answers the exit code. Errors have been told when it returns.
func Run(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return report(ctx, stderr, err)
}
