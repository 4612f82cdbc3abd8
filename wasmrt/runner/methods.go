package runner

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// Handle serves one request of the control protocol.
func (r *Runner) Handle(ctx context.Context, method string, params json.RawMessage) (any, error) {
	switch method {
	case control.MethodCreate:
		return call(params, func(p *control.CreateParams) (any, error) { return r.create(ctx, p) })
	case control.MethodStart:
		return call(params, func(p *control.StartParams) (any, error) { return r.start(ctx, p) })
	case control.MethodStop:
		return call(params, func(p *control.StopParams) (any, error) { return r.stop(ctx, p) })
	case control.MethodRemove:
		return call(params, func(p *control.Target) (any, error) { return nil, r.remove(ctx, p.ID) })
	case control.MethodList:
		return call(params, func(p *control.ListParams) (any, error) { return r.list(p.After), nil })
	case control.MethodUpdate:
		return call(params, func(p *control.UpdateParams) (any, error) { return r.update(p) })
	case control.MethodReopen:
		return call(params, func(p *control.Target) (any, error) { return nil, r.reopen(p.ID) })
	case control.MethodExec:
		return call(params, func(p *control.ExecParams) (any, error) { return r.exec(ctx, p) })
	case control.MethodAttach:
		return call(params, func(p *control.AttachParams) (any, error) { return r.attach(ctx, p) })
	case control.MethodStats:
		return call(params, func(p *control.StatsParams) (any, error) { return r.stats(p), nil })
	case control.MethodShared:
		return call(params, func(p *control.ListParams) (any, error) { return r.shared(p.After) })
	case control.MethodSource:
		return call(params, func(p *control.Target) (any, error) { return nil, r.source(ctx, p.ID) })
	case control.MethodExport:
		return call(params, func(p *control.ListParams) (any, error) { return r.export(p.After), nil })
	case control.MethodListen:
		return call(params, func(p *control.Target) (any, error) { return nil, r.listen(p.ID) })
	case control.MethodPing:
		return r.processStats()
	case control.MethodShutdown:
		return call(params, func(p *control.ShutdownParams) (any, error) {
			r.stopAll(p.Grace)
			r.quitOnce.Do(func() { close(r.quit) })
			return nil, nil
		})
	}
	return nil, control.Errorf(control.CodeInvalid, "unknown method %q", method)
}

// call decodes the params of a method and calls it.
func call[P any](params json.RawMessage, f func(*P) (any, error)) (any, error) {
	p := new(P)
	if err := json.Unmarshal(params, p); err != nil {
		return nil, control.Errorf(control.CodeInvalid, "decode params: %v", err)
	}
	return f(p)
}

func (r *Runner) create(ctx context.Context, p *control.CreateParams) (any, error) {
	c, err := r.newContainer(p)
	if err != nil {
		return nil, err
	}
	// The id is taken before the module is loaded, so that of two requests for one only one loads. Whoever finds it
	// meanwhile waits for the outcome.
	c.op.Lock()
	defer c.op.Unlock()
	r.mu.Lock()
	if r.ending {
		r.mu.Unlock()
		return nil, control.Errorf(control.CodePrecondition, "%v", errEnding)
	}
	if r.containers[p.ID] != nil {
		r.mu.Unlock()
		return nil, control.Errorf(control.CodeExists, "container %s exists", p.ID)
	}
	r.containers[p.ID] = c
	r.mu.Unlock()

	if err := c.load(ctx, r.templates); err != nil {
		r.forget(p.ID)
		return nil, err
	}
	return c.snapshot(), nil
}

func (r *Runner) start(ctx context.Context, p *control.StartParams) (any, error) {
	c, err := r.find(p.ID)
	if err != nil {
		return nil, err
	}
	if r.ctx.Err() != nil {
		return nil, control.Errorf(control.CodePrecondition, "%v", errEnding)
	}
	given := control.TakeFiles(ctx)
	defer control.CloseFiles(given)
	if len(given) != p.Listeners {
		return nil, control.Errorf(control.CodeInvalid, "%d listeners were announced and %d came", p.Listeners, len(given))
	}
	if err := c.start(ctx, r.ctx, listening{shared: p.Shared, given: given, refused: p.Refused}); err != nil {
		return nil, err
	}
	r.templates.littered(1)
	shared, err := r.sharedOf(c.addresses())
	if err != nil { // for want of descriptors
		if err := r.listen(p.ID); err != nil {
			return nil, err
		}
	}
	return &control.StartResult{Status: c.snapshot(), Shared: shared}, nil
}

func (r *Runner) stop(ctx context.Context, p *control.StopParams) (any, error) {
	c, err := r.find(p.ID)
	if err != nil {
		return nil, err
	}
	if err := c.stop(ctx, max(0, p.Grace)); err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

func (r *Runner) remove(ctx context.Context, id string) error {
	c, err := r.find(id)
	if err != nil {
		return nil // removed already
	}
	if err := c.stop(ctx, 0); err != nil {
		return err
	}
	c.release()
	r.forget(id)
	return nil
}

func (r *Runner) update(p *control.UpdateParams) (any, error) {
	c, err := r.find(p.ID)
	if err != nil {
		return nil, err
	}
	if err := c.update(p.MemoryLimit); err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

func (r *Runner) reopen(id string) error {
	c, err := r.find(id)
	if err != nil {
		return err
	}
	if c.snapshot().State != control.StateRunning {
		return control.Errorf(control.CodePrecondition, "container %s is not running", id)
	}
	return c.log.Reopen()
}

func (r *Runner) list(after string) *control.ListResult {
	ids, more := r.page(after)
	result := &control.ListResult{More: more}
	for _, id := range ids {
		if c, err := r.find(id); err == nil {
			if s := c.loaded(); s.State != "" { // else it could not be
				result.Containers = append(result.Containers, s)
			}
		}
	}
	return result
}

// page answers the next ids in order behind after.
func (r *Runner) page(after string) (ids []string, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.containers {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) > control.MaxPage {
		return ids[:control.MaxPage], true
	}
	return ids, false
}

func (r *Runner) find(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, control.Errorf(control.CodeNotFound, "no container %s", id)
}

func (r *Runner) forget(id string) {
	r.mu.Lock()
	delete(r.containers, id)
	r.mu.Unlock()
}
