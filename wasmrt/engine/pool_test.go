package engine

import (
	"errors"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func newPool(t testing.TB, tmpl *Template, cfg PoolConfig) *Pool {
	t.Helper()
	p, err := tmpl.NewPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.IdleInstances != 0 || s.BusyInstances != 0 {
			t.Errorf("instances are left: %+v", s)
		}
	})
	return p
}

func TestPoolRefuses(t *testing.T) {
	e := newEngine(t)
	if _, err := load(t, e, moduletest.Exit(0)).NewPool(PoolConfig{}); err == nil {
		t.Error("a pool of commands")
	}
	reactor := load(t, e, moduletest.Build(moduletest.Reactor(nil)))
	for _, cfg := range []PoolConfig{{Isolation: "none"}, {Spec: Spec{Env: []string{"x"}}}, {Spec: Spec{CPUTime: -1}}} {
		if p, err := reactor.NewPool(cfg); err == nil {
			_ = p.Close()
			t.Errorf("%+v is accepted", cfg)
		}
	}
	p := newPool(t, reactor, PoolConfig{})
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("get of a closed pool: %v", err)
	}
}
