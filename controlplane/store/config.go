package store

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config is what a Store needs.
type Config struct {
	// Dir is where the embedded etcd keeps its data; it is made (mode 0700) when missing. Unused with Endpoints.
	Dir string
	// Endpoints of an external etcd (3.4.25, 3.5.8 or newer: what came before told watch progress out of order). Empty: etcd is embedded.
	Endpoints []string
	// TLS for Endpoints; nil for plain text.
	TLS *tls.Config
	// Resources are all kinds that are kept. Keys of other resources are left alone.
	Resources []*Resource
	// CompactInterval is how much history etcd keeps for watches and continue tokens; 0: DefaultCompactInterval.
	CompactInterval time.Duration
	// QuotaBytes bounds the embedded database; 0: DefaultQuotaBytes.
	QuotaBytes int64
	// LogEvents and LogBytes bound the event log of each resource; 0: DefaultLogEvents, DefaultLogBytes.
	LogEvents int
	LogBytes  int64
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	if c.Dir == "" && len(c.Endpoints) == 0 {
		return errors.New("either a directory or endpoints must be given")
	}
	if c.CompactInterval < 0 || c.QuotaBytes < 0 || c.LogEvents < 0 || c.LogBytes < 0 {
		return errors.New("the interval and the bounds must not be negative")
	}
	seen := map[string]bool{}
	for i, r := range c.Resources {
		switch {
		case r == nil || r.New == nil:
			return fmt.Errorf("resource %d: New is missing", i)
		case r.GVR.Resource == "" || r.GVR.Version == "" || r.GVK.Kind == "" || r.GVK.Version == "":
			return fmt.Errorf("resource %d: GVR and GVK must be given", i)
		case checkSegment(r.GVR.Resource) != nil || r.GVR.Group != "" && checkSegment(r.GVR.Group) != nil:
			return fmt.Errorf("resource %q: its name cannot be part of a key", r.GVR.GroupResource())
		case seen[tablePath(r)]:
			return fmt.Errorf("resource %q is given twice", r.GVR.GroupResource())
		}
		seen[tablePath(r)] = true
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.CompactInterval == 0 {
		c.CompactInterval = DefaultCompactInterval
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = DefaultQuotaBytes
	}
	if c.LogEvents == 0 {
		c.LogEvents = DefaultLogEvents
	}
	if c.LogBytes == 0 {
		c.LogBytes = DefaultLogBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
