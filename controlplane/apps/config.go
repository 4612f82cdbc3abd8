package apps

import (
	"errors"
	"log/slog"
	"time"
)

// Config of a Server.
type Config struct {
	Client    Client
	Informers Informers
	Modules   Modules
	Logs      PodLogs
	// Gateway measures the first response; nil: it is not waited for.
	Gateway Gateway
	// URL tells where an app answers.
	URL func(namespace, app string) string
	// SpoolDir is where bodies are kept while they are read. It must exist; empty: the system's temporary directory.
	SpoolDir string
	// RegistryHosts are the names by which image references may call the module registry, beside
	// api.RegistryHost: the control plane's own addresses.
	RegistryHosts []string
	Logger        *slog.Logger
	// Now tells the time for the figures in answers; the real one when nil.
	Now func() time.Time
}

// Validate tells what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil:
		return errors.New("check apps config: no client")
	case c.Informers == nil:
		return errors.New("check apps config: no informers")
	case c.Modules == nil:
		return errors.New("check apps config: no module store")
	case c.Logs == nil:
		return errors.New("check apps config: no pod logs")
	case c.URL == nil:
		return errors.New("check apps config: no URL")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}
