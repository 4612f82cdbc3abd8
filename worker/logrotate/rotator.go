package logrotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DefaultInterval is how often logs are looked at. Looking at ten thousand takes some 20 ms.
	DefaultInterval = 10 * time.Second
	// DefaultSize and DefaultFiles are kubelet's.
	DefaultSize  = 10 << 20
	DefaultFiles = 5
	// minSize keeps a log from being rotated all the time.
	minSize = 4 << 10
)

// Log is a running container's.
type Log struct{ ContainerID, Path string }

// Config says which logs are kept how short.
type Config struct {
	// MaxSize is how many bytes a log may have before it is rotated; it can be exceeded by what is written until it is looked
	// at.
	MaxSize int64
	// MaxFiles is how many files a container may have, the one that it writes to among them.
	MaxFiles int
	// Interval is how often logs are looked at; DefaultInterval.
	Interval time.Duration
	// Logs are those of the containers that run.
	Logs   func() iter.Seq[Log]
	Reopen Reopen
	Logger *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Logs == nil || c.Reopen == nil || c.Logger == nil {
		return errors.New("log rotation needs logs, something that reopens them and a logger")
	}
	return CheckLimits(c.MaxSize, c.MaxFiles)
}

// CheckLimits reports what logs cannot be bounded by.
func CheckLimits(maxSize int64, maxFiles int) error {
	switch {
	case maxSize < minSize:
		return fmt.Errorf("container log of at most %d bytes: want %d or more", maxSize, minSize)
	case maxFiles < 2:
		return fmt.Errorf("container log of at most %d files: want 2 or more", maxFiles)
	}
	return nil
}

// Rotator rotates logs.
type Rotator struct{ cfg Config }

// New makes a rotator.
func New(cfg Config) (*Rotator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Interval = cmp.Or(cfg.Interval, DefaultInterval)
	return &Rotator{cfg}, nil
}

// Run looks at the logs until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.cfg.Interval):
			r.pass(ctx, time.Now())
		}
	}
}

// pass rotates every log that is too long.
func (r *Rotator) pass(ctx context.Context, now time.Time) {
	var st unix.Stat_t
	for log := range r.cfg.Logs() {
		if ctx.Err() != nil {
			return
		}
		if unix.Lstat(log.Path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size <= r.cfg.MaxSize {
			continue
		}
		if err := rotate(ctx, log.ContainerID, log.Path, r.cfg.MaxFiles-1, now, r.cfg.Reopen); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("log was not rotated", "log", log.Path, "error", err)
		}
	}
}
