package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

const (
	// fuelRounds are run at least, and as many as kernelBudget has room for: the more, the likelier is one undisturbed.
	fuelRounds   = 5
	kernelBudget = 2 * time.Second
	// kernelTime is how long a kernel is run a round at least: short ones are repeated.
	kernelTime = 5 * time.Millisecond
)

// kernels are the exports of bench/kernels: each works without input and returns a checksum.
var kernels = []string{"fib32", "sha256", "matmul200", "sieve1M"}

// measureFuel runs the kernels of each module metered, by the engine, and plain, by bare wazero, in turns. Ours and Peer
// have one number a kernel: the median would hide which one costs.
func measureFuel(ctx context.Context, o options) (r result, err error) {
	for _, path := range o.kernels {
		p, err := newPair(ctx, path)
		if err != nil {
			return r, err
		}
		for _, kernel := range kernels {
			ours, peer, err := p.compare(ctx, kernel)
			if err != nil {
				return r, errors.Join(err, p.close(ctx))
			}
			r.Ours, r.Peer = append(r.Ours, ours), append(r.Peer, peer)
			r.note("%s %s: metered %.2f ms, plain %.2f ms, %.3f", strings.TrimSuffix(filepath.Base(path), ".wasm"), kernel, 1000*ours, 1000*peer, ours/peer)
		}
		if err := p.close(ctx); err != nil {
			return r, err
		}
	}
	return r, nil
}

// pair is one module, metered and plain.
type pair struct {
	guest   *guest
	pool    *engine.Pool
	metered *engine.Instance
	runtime wazero.Runtime
	plain   api.Module
}

func newPair(ctx context.Context, path string) (*pair, error) {
	p := &pair{}
	var err error
	if p.guest, err = load(ctx, options{module: path}); err != nil {
		return nil, err
	}
	// A limit on processor time, as apps have one, is what the metering is for.
	p.pool, err = p.guest.template.NewPool(engine.PoolConfig{Spec: engine.Spec{Args: []string{"guest"}, CPUTime: time.Minute}, Isolation: engine.IsolationShared})
	if err == nil {
		p.metered, err = p.pool.Get(ctx)
	}
	if err == nil {
		err = p.startPlain(ctx, path)
	}
	if err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

// startPlain starts the module as wazero alone runs it: not rewritten, and not to be interrupted.
func (p *pair) startPlain(ctx context.Context, path string) error {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
		return err
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").WithArgs("guest").
		WithSysWalltime().WithSysNanotime().WithSysNanosleep()
	p.plain, err = p.runtime.InstantiateWithConfig(ctx, wasm, config)
	return err
}

func (p *pair) close(ctx context.Context) error {
	var errs []error
	if p.metered != nil {
		errs = append(errs, p.pool.Put(p.metered))
	}
	if p.pool != nil {
		errs = append(errs, p.pool.Close())
	}
	if p.runtime != nil {
		errs = append(errs, p.runtime.Close(ctx))
	}
	return errors.Join(append(errs, p.guest.close())...)
}

// compare answers the seconds of a kernel's quickest run on either side: what disturbs a run only makes it longer.
func (p *pair) compare(ctx context.Context, kernel string) (metered, plain float64, err error) {
	var results [2]uint64
	ours := func() error { return p.metered.CallValues(ctx, kernel, results[:1]) }
	export := p.plain.ExportedFunction(kernel)
	if export == nil {
		return 0, 0, fmt.Errorf("the module has no export %s", kernel)
	}
	peer := func() error { return export.CallWithStack(ctx, results[1:]) }
	first, err := each(1, peer)
	if err == nil {
		err = ours()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("run %s: %w", kernel, err)
	}
	if results[0] != results[1] {
		return 0, 0, fmt.Errorf("run %s: metered it answers %d, plain %d", kernel, results[0], results[1])
	}
	repeat := 1 + int(kernelTime.Seconds()/first)
	began := time.Now()
	for round := 0; round < fuelRounds || time.Since(began) < kernelBudget; round++ {
		a, err := each(repeat, ours)
		if err != nil {
			return 0, 0, err
		}
		b, err := each(repeat, peer)
		if err != nil {
			return 0, 0, err
		}
		if round == 0 || a < metered {
			metered = a
		}
		if round == 0 || b < plain {
			plain = b
		}
	}
	return metered, plain, nil
}
