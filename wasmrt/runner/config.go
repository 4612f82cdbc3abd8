package runner

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

const (
	// idleExit is how long a runner without containers and without a supervisor stays. It bounds what a supervisor that
	// never comes back leaves behind.
	idleExit = time.Minute
	// templateLinger is how long a template stays loaded that no container uses: a container that restarts or is
	// replaced finds it, which saves a Go module some 40 ms.
	templateLinger = 30 * time.Second
	// exitGrace is what containers get to end when the process is told to.
	exitGrace = 2 * time.Second
)

// Config is what a Runner needs.
type Config struct {
	// Namespace is the tenant whose containers are run.
	Namespace string
	// Listener is where the supervisor connects: a unix socket that only this user can reach.
	Listener *net.UnixListener
	// CacheDir has compiled modules, which are only read: what is missing is the supervisor's to compile. Empty: the
	// runner compiles for itself and keeps nothing.
	CacheDir string
	// Confine takes from the process what its work does not need, and says what that is. It is called once, by Run, before
	// anybody is let in. Nil: nothing is taken.
	Confine func() (map[string]string, error)
	// Version is told to the supervisor.
	Version string
	Logger  *slog.Logger
	Now     func() time.Time
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Namespace == "" || c.Listener == nil || c.Logger == nil || c.Now == nil {
		return errors.New("runner: Namespace, Listener, Logger and Now are required")
	}
	return nil
}
