package wagi

import (
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
)

const (
	// DefaultMaxBuffer is how much of a request without Content-Length is kept, in bytes. It is memory of the host.
	DefaultMaxBuffer = 4 << 20
	// maxHead bounds a response's head, in bytes, as servers bound a request's.
	maxHead = 64 << 10
	// maxFields bounds its lines.
	maxFields = 1_000
)

// Config says what a Server serves.
type Config struct {
	Template  *engine.Template // must outlive the Server
	Spec      engine.Spec      // the streams are not used: a request has its own
	MaxBuffer int64            // zero: DefaultMaxBuffer
}

// Validate checks the configuration.
func (c Config) Validate() error {
	if c.Template == nil {
		return errors.New("check WAGI config: no template")
	}
	if kind := c.Template.Info().Kind; kind != module.KindCommand {
		return fmt.Errorf("check WAGI config: the module is a %s, not a command", kind)
	}
	if c.MaxBuffer < 0 {
		return errors.New("check WAGI config: the buffer's limit is negative")
	}
	return c.Spec.Validate()
}

func (c Config) withDefaults() Config {
	if c.MaxBuffer == 0 {
		c.MaxBuffer = DefaultMaxBuffer
	}
	return c
}
