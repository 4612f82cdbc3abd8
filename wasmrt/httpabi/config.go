package httpabi

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// The defaults of a Handler's limits.
const (
	// DefaultWallTime is what a request may take from the moment it has an instance.
	DefaultWallTime = 30 * time.Second
	// startTime is what a program may take to be started and warmed up, beside the wall time of the request that waits.
	startTime = 30 * time.Second
	// DefaultCPUTime is how much processor time a request may take where its Spec names none.
	DefaultCPUTime = 10 * time.Second
	// DefaultConcurrency is how many requests of one handler run at a time: a guest that sleeps or waits for its client
	// holds its memory but no processor, so it stands above the number of processors.
	DefaultConcurrency = 32
	// DefaultQueue is how many requests wait for a place beyond those that run.
	DefaultQueue = 256
	// DefaultQueueTime is how long a request waits for a place.
	DefaultQueueTime = 10 * time.Second
	// DefaultMaxRequestBody and DefaultMaxResponseBody are in bytes. Bodies stream, so they cost no memory of the host.
	DefaultMaxRequestBody  = 1 << 30
	DefaultMaxResponseBody = 4 << 30
	// disconnectGrace is how long a guest may go on after its client has gone, to finish what it began.
	disconnectGrace = 5 * time.Second
)

// Config says what a Handler serves and how much. Zero limits mean the defaults.
type Config struct {
	Template *engine.Template // must outlive the Handler
	Spec     engine.Spec      // Stdin is not handed on: a request has a body
	Logger   *slog.Logger     // may be nil
	// Isolation is what two requests share; empty: engine.IsolationReset. A WAGI command is always fresh.
	Isolation engine.Isolation
	// OnFailure is told of each guest that failed, before its client is. It is called concurrently and must not wait. It
	// may be nil.
	OnFailure func(Failure)

	// ABI is how the module is served: ABIReactor, ABIHTTPWasm or ABIWAGI. Empty: what module.Detect says.
	ABI module.ABI

	WallTime        time.Duration // of one request
	Concurrency     int           // requests that run at a time; each has up to Spec.MemoryLimit of memory
	Queue           int           // requests that wait; negative: none
	QueueTime       time.Duration // how long they wait
	MaxRequestBody  int64         // bytes
	MaxResponseBody int64         // bytes
}

// Validate checks the configuration.
func (c Config) Validate() error {
	switch {
	case c.Template == nil:
		return errors.New("check handler config: no template")
	case c.WallTime < 0, c.QueueTime < 0, c.Concurrency < 0, c.MaxRequestBody < 0, c.MaxResponseBody < 0:
		return errors.New("check handler config: a limit is negative")
	}
	switch abi, err := c.abi(); {
	case err != nil:
		return fmt.Errorf("check handler config: %w", err)
	case abi == module.ABIReactor, abi == module.ABIHTTPWasm, abi == module.ABIWAGI:
	default:
		return fmt.Errorf("check handler config: the ABI %q serves no HTTP by requests", abi)
	}
	if err := c.Isolation.Validate(); err != nil {
		return fmt.Errorf("check handler config: %w", err)
	}
	return c.Spec.Validate()
}

// abi is the configured one, or what the module shows.
func (c Config) abi() (module.ABI, error) {
	if c.ABI != "" {
		return c.ABI, nil
	}
	abi, _, err := module.Detect(c.Template.Info(), module.HTTPAuto, true)
	return abi, err
}

func (c Config) withDefaults() Config {
	c.WallTime = orDefault(c.WallTime, DefaultWallTime)
	c.Concurrency = orDefault(c.Concurrency, DefaultConcurrency)
	c.Queue = max(0, orDefault(c.Queue, DefaultQueue))
	c.QueueTime = orDefault(c.QueueTime, DefaultQueueTime)
	c.MaxRequestBody = orDefault(c.MaxRequestBody, DefaultMaxRequestBody)
	c.MaxResponseBody = orDefault(c.MaxResponseBody, DefaultMaxResponseBody)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Spec.CPUTime = orDefault(c.Spec.CPUTime, DefaultCPUTime)
	c.Spec.Stdin = nil
	return c
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
