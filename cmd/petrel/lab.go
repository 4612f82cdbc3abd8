package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/cmd/petrel/client"
	"github.com/petrelrun/petrel/lab"
)

// defaultLabDir is where a lab's state is when no flag says so. A lab is root's to make.
const defaultLabDir = "/var/lib/petrel-lab"

// labOptions are the flags of every lab command.
type labOptions struct {
	streams
	dir    string
	output string
}

func newLabCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a cluster of several nodes on this machine",
		Long: `Run a cluster of several nodes on this machine, to try and to test with. Each node has a network, a process table,
mounts and control groups of its own; nothing that it sends leaves the lab. It takes root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, make := range []func(*labOptions) *cobra.Command{newLabUpCommand, newLabDownCommand, newLabStatusCommand, newLabExecCommand} {
		cmd.AddCommand(make(&labOptions{streams: io}))
	}
	return cmd
}

// add adds the flags, and has errors told in JSON where that is asked for.
func (o *labOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.dir, "data-dir", defaultLabDir, "directory of the lab's state and logs")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.output != "text" && o.output != "json" {
			return client.UsageError(fmt.Errorf("--output %s is neither text nor json", o.output))
		}
		var err error
		if o.dir, err = filepath.Abs(o.dir); err == nil {
			err = run(cmd, args)
		}
		if err != nil && o.json() {
			return client.InJSON(err)
		}
		return err
	}
}

func (o *labOptions) json() bool { return o.output == "json" }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// read finds the lab, or says how to make one.
func (o *labOptions) read() (*lab.State, error) {
	s, err := lab.Read(o.dir)
	if err != nil {
		return nil, fmt.Errorf("no lab in %s (petrel lab up makes one, --data-dir names another place): %w", o.dir, err)
	}
	return s, nil
}
