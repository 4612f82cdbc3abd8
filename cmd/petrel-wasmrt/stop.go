package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/wasmrt/supervisor"
	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

func newStop() *cobra.Command {
	var root string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "stop --root DIR",
		Short: "End the runners that a supervisor has left running",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return stop(cmd, root, grace) },
	}
	cmd.Flags().StringVar(&root, "root", "", "directory that the supervisor was started with")
	cmd.Flags().DurationVar(&grace, "grace", 2*time.Second, "what requests get to finish")
	if err := cmd.MarkFlagRequired("root"); err != nil {
		panic(err) // the flag is right above
	}
	return cmd
}

func stop(cmd *cobra.Command, root string, grace time.Duration) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("find root: %w", err)
	}
	store := state.New(root)
	release, err := store.Lock()
	if errors.Is(err, state.ErrLocked) {
		return fmt.Errorf("%w: end it first, or serve with --stop-runners-on-exit", err)
	}
	if err != nil {
		return err
	}
	defer release()
	records, err := store.Runners()
	if err != nil {
		return err
	}
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	for i, r := range records {
		wg.Go(func() {
			if errs[i] = fleet.Stop(cmd.Context(), r, grace); errs[i] == nil {
				errs[i] = store.RemoveRunner(r.Key)
			}
		})
	}
	wg.Wait()
	groups := store.Groups().Dirs
	errs = append(errs, cgroup.Sweep(groups, func(string) bool { return false }))
	cgroup.Release(groups)
	return errors.Join(append(errs, supervisor.UnbindAll(root))...)
}
