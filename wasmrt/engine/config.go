package engine

import (
	"bytes"

	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero"
)

// moduleConfig is wazero's configuration of every instance. WASI is served by package wasi, so it says nothing; its
// random source is set, because making the default one takes ten times as long as all the rest.
var moduleConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(bytes.NewReader(nil))

// wasiConfig is what a Spec gives of the world.
func (s Spec) wasiConfig() wasi.Config {
	return wasi.Config{Args: s.Args, Env: s.Env, Mounts: s.Mounts, Listeners: s.Listeners, MaxFiles: s.MaxFiles}
}

// openSystem opens what the Spec gives of the world.
func (in *Instance) openSystem(spec Spec) (err error) {
	if in.system, err = wasi.New(spec.wasiConfig()); err != nil {
		return err
	}
	in.connect(spec)
	return nil
}

// connect sets what is the instance's own and no part of a snapshot.
func (in *Instance) connect(spec Spec) {
	in.stdin = spec.Stdin
	in.mounted = len(spec.Mounts)+len(spec.Listeners) > 0
	in.system.SetStreams(spec.Stdin, spec.Stdout, spec.Stderr)
	in.system.SetEgress(spec.Egress)
}
