package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/wasmrt/runner/compile"
)

func newCompile() *cobra.Command {
	var r compile.Request
	var evict bool
	cmd := &cobra.Command{
		Use:    "compile",
		Short:  "Inspect and compile one module into the cache; started by serve",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := compile.Confine(); err != nil {
				return err
			}
			work := compile.Run
			if evict {
				work = compile.Evict
			}
			result, err := work(cmd.Context(), r)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&r.CacheDir, "cache-dir", "", "directory of compiled code")
	cmd.Flags().StringVar(&r.ModulePath, "module", "", "the module's file")
	cmd.Flags().StringVar(&r.Digest, "digest", "", "what the file's digest must be")
	cmd.Flags().BoolVar(&evict, "evict", false, "remove the digest's compiled code instead")
	return cmd
}
