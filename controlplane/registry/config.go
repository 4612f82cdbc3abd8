package registry

import (
	"errors"
	"log/slog"
)

// Config of a Registry.
type Config struct {
	// Dir holds the image layouts. It is made on the first push.
	Dir string
	// MaxBlob and MaxManifest bound what one upload may hold, in bytes; 0 is the default.
	MaxBlob     int64
	MaxManifest int64
	Logger      *slog.Logger
}

// Validate tells what is wrong with the config.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return errors.New("registry: no directory")
	}
	if c.MaxBlob < 0 || c.MaxManifest < 0 {
		return errors.New("registry: a limit is negative")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.MaxBlob == 0 {
		c.MaxBlob = DefaultMaxBlob
	}
	if c.MaxManifest == 0 {
		c.MaxManifest = DefaultMaxManifest
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}
