package engine

import (
	"context"
	"errors"

	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
)

// restore puts the instance back to the snapshot, in place. It returns why it cannot.
func (in *Instance) restore() (obstacle string, err error) {
	s := in.snapshot
	if !in.system.Reset() {
		return "files", nil
	}
	if in.memory != nil {
		if err := in.memory.reset(in.quiet); err != nil {
			return "reset", err
		}
		if err := in.growTo(s.image.size); err != nil {
			return "memory_grown", nil //nolint:nilerr // the instance is thrown away, nothing else is wrong
		}
		in.memory.settle()
		in.quiet = true
	}
	for i, g := range in.globals {
		g.Set(s.globals[i])
	}
	return "", nil
}

// parts are what a closed clone leaves for the next one, in the snapshot's state: making them is most of what a clone
// costs. Nothing of a request is in them, and nothing of a pool: descriptors are kept only where nothing is mounted.
type parts struct {
	module  api.Module
	memory  *linear
	counter api.MutableGlobal
	globals []api.MutableGlobal
	exports []exported
	system  *wasi.System // nil: the next clone gets one from its pool
}

// recycle keeps the parts of a clone that is being closed. It returns false when they are not fit, or not wanted.
func (s *snapshot) recycle(in *Instance) bool {
	if in.failure != "" || in.module == nil || in.unwanted {
		return false
	}
	s.mu.Lock()
	full := s.gone || len(s.spare) >= maxSpare
	s.mu.Unlock()
	if full {
		return false
	}
	if obstacle, err := in.restore(); obstacle != "" || err != nil {
		return false
	}
	in.system.SetStreams(nil, nil, nil)
	in.system.SetEgress(nil)
	p := parts{module: in.module, memory: in.memory, counter: in.meter.counter, globals: in.globals, exports: in.exports, system: in.system}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || len(s.spare) >= maxSpare {
		return false
	}
	if in.mounted {
		_ = in.system.Close() // it has nothing that could fail
		p.system = nil
	}
	s.spare = append(s.spare, p)
	return true
}

// reuse makes a clone of what another has left.
func (s *snapshot) reuse(in *Instance, spec Spec, system *wasi.System) bool {
	s.mu.Lock()
	n := len(s.spare)
	if n == 0 {
		s.mu.Unlock()
		return false
	}
	p := s.spare[n-1]
	s.spare[n-1] = parts{}
	s.spare = s.spare[:n-1]
	s.mu.Unlock()
	if p.system == nil {
		var err error
		if p.system, err = system.Clone(); err != nil {
			_ = p.close() // the clone that is made from nothing tells why
			return false
		}
	}
	s.use(1)
	in.snapshot, in.system = s, p.system
	in.module, in.memory, in.globals, in.exports = p.module, p.memory, p.globals, p.exports
	in.meter.counter = p.counter
	in.quiet = true
	in.connect(spec)
	return true
}

func (p parts) close() error {
	errs := []error{p.module.Close(context.Background())}
	if p.system != nil {
		errs = append(errs, p.system.Close())
	}
	if p.memory != nil {
		errs = append(errs, p.memory.release())
	}
	return errors.Join(errs...)
}
