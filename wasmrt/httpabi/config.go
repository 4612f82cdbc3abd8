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
	case c.Template.Info().Kind != module.KindReactor:
		return fmt.Errorf("check handler config: the module is a %s, not a reactor", c.Template.Info().Kind)
	case c.WallTime < 0, c.QueueTime < 0, c.Concurrency < 0, c.MaxRequestBody < 0, c.MaxResponseBody < 0:
		return errors.New("check handler config: a limit is negative")
	}
	return c.Spec.Validate()
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
