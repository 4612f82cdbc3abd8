package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// measured is how many instances Measure makes.
const measured = 20

// share returns the pool's snapshot, which is made now if no pool of the same kind has it, and the System that clones get
// their descriptors from.
func (p *Pool) share(ctx context.Context) (*snapshot, *wasi.System, error) {
	p.mu.Lock()
	s, system := p.snapshot, p.parent()
	p.mu.Unlock()
	if s != nil {
		return s, system, nil
	}
	s, err := p.program.snapshots.get(ctx, p.cfg.Spec, func() (*snapshot, error) { return p.snap(ctx) })
	if err != nil {
		return nil, nil, err
	}
	if s.reason == "" && len(p.cfg.Spec.Mounts) > 0 {
		if system, err = s.system.CloneFor(p.cfg.Spec.Mounts); err != nil {
			s.use(-1)
			return nil, nil, fmt.Errorf("open mounts: %w", err)
		}
	}
	return p.adopt(s, system)
}

// adopt makes a snapshot the pool's, unless another request has been faster.
func (p *Pool) adopt(s *snapshot, system *wasi.System) (*snapshot, *wasi.System, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, nil, errors.Join(fmt.Errorf("get instance: %w", ErrClosed), release(s, system))
	}
	if p.snapshot == nil {
		p.snapshot, p.system = s, system
		p.refused, p.found = s.reason, len(s.generators)
		system = p.parent()
		p.mu.Unlock()
		return s, system, nil
	}
	mine, mySystem := p.snapshot, p.parent()
	p.mu.Unlock()
	return mine, mySystem, release(s, system)
}

// parent is what clones have their descriptors from, under mu: the pool's own, where it has mounts.
func (p *Pool) parent() *wasi.System {
	if p.system == nil && p.snapshot != nil {
		return p.snapshot.system
	}
	return p.system
}

func release(s *snapshot, system *wasi.System) error {
	if s == nil {
		return nil
	}
	var err error
	if system != nil {
		err = system.Close()
	}
	s.use(-1)
	return err
}

// snap starts an instance and takes its snapshot.
func (p *Pool) snap(ctx context.Context) (*snapshot, error) {
	if r := p.program.rewritten.NoSnapshot; r != "" {
		return &snapshot{program: p.program, reason: r}, nil
	}
	in, err := p.boot(ctx)
	if err != nil {
		return nil, err
	}
	s, err := in.capture(p.cfg.Spec)
	return s, errors.Join(err, in.Close())
}

// letGo gives the snapshot up.
func (p *Pool) letGo() error {
	p.mu.Lock()
	s, system := p.take()
	p.mu.Unlock()
	return release(s, system)
}

// take takes the snapshot out, under mu, for release.
func (p *Pool) take() (*snapshot, *wasi.System) {
	s, system := p.snapshot, p.system
	p.snapshot, p.system = nil, nil
	return s, system
}

// trim closes the instances that were not needed since the last time, and gives the snapshot up when the pool rests. It
// returns whether it shall be called again.
func (p *Pool) trim() (again bool) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	n := min(p.least, len(p.idle))
	unused := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.least = len(p.idle)
	for range unused {
		p.discarded(causeIdle)
	}
	resting := p.busy == 0 && len(p.idle) == 0
	var s *snapshot
	var system *wasi.System
	if resting {
		p.watched, p.idle = false, nil
		s, system = p.take()
	}
	p.mu.Unlock()
	var errs []error
	for _, in := range unused {
		in.unwanted = true
		errs = append(errs, in.Close())
	}
	errs = append(errs, release(s, system))
	if err := errors.Join(errs...); err != nil {
		p.program.engine.log.Warn("close idle instances", "digest", p.program.info.Digest, "err", err)
	}
	return !resting
}

// Measure makes a handful of instances as requests get them and tells how long that took. The first one writes to the
// Spec's streams, so that what keeps a module from starting is in its log.
func (p *Pool) Measure(ctx context.Context) (ColdStart, error) {
	c := ColdStart{Compile: p.compileTime, Reason: reasonFresh}
	once := p.start
	if p.cfg.Isolation != IsolationFresh {
		s, system, err := p.share(ctx)
		if err != nil {
			return ColdStart{}, fmt.Errorf("measure cold start: %w", err)
		}
		c.Snapshot, c.Snapshotted, c.Reason = s.took, s.reason == "", s.reason
		if c.Snapshotted {
			once = func(ctx context.Context) (*Instance, error) { return p.clone(ctx, s, system, false) }
		}
	}
	took := make([]time.Duration, measured)
	for i := range took {
		begun := time.Now()
		in, err := once(ctx)
		if err != nil {
			return ColdStart{}, fmt.Errorf("measure cold start: %w", err)
		}
		if i > 0 {
			in.SetOutput(nil, nil)
		}
		in.unwanted = true // its parts would hide what a first clone costs
		if err := in.Close(); err != nil {
			return ColdStart{}, fmt.Errorf("measure cold start: %w", err)
		}
		took[i] = time.Since(begun)
	}
	p.rest()
	slices.Sort(took)
	c.CloneP50, c.CloneP99 = took[measured/2], took[measured-1]
	return c, nil
}

// rest sees to it that the snapshot is given up when no request comes.
func (p *Pool) rest() {
	p.mu.Lock()
	watch := !p.watched && !p.closed && p.snapshot != nil
	p.watched = p.watched || watch
	p.mu.Unlock()
	if watch {
		p.program.engine.keeper.watchPool(p)
	}
}
