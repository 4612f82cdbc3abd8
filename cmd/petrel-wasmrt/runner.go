package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/wasmrt/runner"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

type runnerFlags struct {
	namespace, cacheDir, logLevel string
}

func newRunner() *cobra.Command {
	var f runnerFlags
	cmd := &cobra.Command{
		Use:    "runner",
		Short:  "Run one namespace's guests; started by serve",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return runRunner(cmd, &f) },
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", "", "whose guests")
	cmd.Flags().StringVar(&f.cacheDir, "cache-dir", "", "directory of compiled code")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func runRunner(cmd *cobra.Command, f *runnerFlags) error {
	log, err := newLogger(cmd, f.logLevel)
	if err != nil {
		return err
	}
	// Started as /proc/self/exe, the process would be listed as "exe".
	_ = os.WriteFile("/proc/self/comm", []byte("petrel-runner"), 0)
	// When the machine is out of memory, guests go before whoever could start them again.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	file := os.NewFile(fleet.ListenerFD, "listener")
	if file == nil {
		return errors.New("run guests: no listener was handed down; runners are started by serve")
	}
	listener, err := fleet.TakeOver(file)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil { // the listener has a copy
		return err
	}
	r, err := runner.New(runner.Config{
		Namespace: f.namespace, Listener: listener, CacheDir: f.cacheDir, Version: version, Logger: log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	return r.Run(cmd.Context())
}
