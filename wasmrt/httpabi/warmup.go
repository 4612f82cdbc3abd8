package httpabi

import (
	"context"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// minWarmMemory is the memory limit from which on guests are warmed up: the warm-up lets a guest's heap grow, and an
// instance with less may need every page for its requests. In bytes.
const minWarmMemory = 32 << 20

// warmUp returns what prepares an instance for the snapshot; nil when there is nothing to do. An instance that serves one
// request and is thrown away gains nothing by it.
func (c Config) warmUp() func(context.Context, *engine.Instance) error {
	_, exported := c.Template.Info().Export(wire.WarmUpExport, module.KindFunction)
	limit := c.Spec.MemoryLimit
	if !exported || c.Isolation == engine.IsolationFresh || limit != 0 && limit < minWarmMemory {
		return nil
	}
	return func(ctx context.Context, in *engine.Instance) error {
		if err := in.Call(ctx, wire.WarmUpExport); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		return nil
	}
}

// Measure makes instances as requests get them, and tells how long that takes. The first one writes to the Spec's
// streams, so that what keeps a module from starting is in its log.
func (h *Handler) Measure(ctx context.Context) (engine.ColdStart, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, errStartTime)
	defer cancel()
	return h.source.Measure(ctx)
}
