package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/procmem"
	"github.com/petrelrun/petrel/wasmrt/runner"
	"github.com/petrelrun/petrel/wasmrt/runner/confine"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

type runnerFlags struct {
	namespace, cacheDir, modulesDir, logLevel string
	allowPaths                                []string
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
	cmd.Flags().StringVar(&f.modulesDir, "modules-dir", "", "directory of modules")
	cmd.Flags().StringArrayVar(&f.allowPaths, "allow-path", nil, "directory below which logs and mounts lie")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// readOnly are the directories of what the supervisor keeps for runners.
func (f *runnerFlags) readOnly() []string {
	var dirs []string
	for _, dir := range []string{f.cacheDir, f.modulesDir} {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
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
		Confine: func() (map[string]string, error) {
			return confine.Apply(confine.Config{ReadOnly: f.readOnly(), ReadWrite: f.allowPaths, Logger: log})
		},
	})
	if err != nil {
		return err
	}
	defer procmem.Begin(cmd.Context(), log)()
	return r.Run(cmd.Context())
}
