package httpabi

import (
	"context"
	"errors"
	"sync"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// instances is where requests get their guests from. It is the place of pools and snapshots.
type instances interface {
	// Get returns an initialised instance that serves nobody else.
	Get(ctx context.Context) (*guest, error)
	// Put takes it back after its request. What the guest wrote is in its Spec's streams when Put returns.
	Put(g *guest) error
}

// guest is an instance together with its output.
type guest struct {
	*engine.Instance
	stdout, stderr *lineWriter
}

// fresh makes an instance for each request and throws it away after it.
type fresh struct {
	template *engine.Template
	spec     engine.Spec
	mu       sync.Mutex // orders the lines of instances that run at the same time
}

func (f *fresh) Get(ctx context.Context) (*guest, error) {
	g, spec := &guest{}, f.spec
	if spec.Stdout != nil {
		g.stdout = &lineWriter{mu: &f.mu, w: spec.Stdout}
		spec.Stdout = g.stdout
	}
	if spec.Stderr != nil {
		g.stderr = &lineWriter{mu: &f.mu, w: spec.Stderr}
		spec.Stderr = g.stderr
	}
	var err error
	if g.Instance, err = f.template.Instantiate(ctx, spec); err != nil {
		return nil, errors.Join(err, g.flush())
	}
	return g, nil
}

func (f *fresh) Put(g *guest) error {
	return errors.Join(g.Close(), g.flush())
}

func (g *guest) flush() error {
	var errs []error
	for _, w := range []*lineWriter{g.stdout, g.stderr} {
		if w != nil {
			errs = append(errs, w.flush())
		}
	}
	return errors.Join(errs...)
}
