package ebpfproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// NATConfig of a NAT. Zero fields get the defaults.
type NATConfig struct {
	Logger *slog.Logger // nil: slog.Default()

	// Connections is how many connections from outside are remembered; the least recently used go first. The table takes
	// about 350 bytes each.
	Connections int

	// Fragments is how many datagrams that come in fragments are remembered.
	Fragments int

	// PortMin and PortMax bound the ports that connections get which are masqueraded as the node's own. The node's own
	// sockets must not be given any of them: by default they lie below what Linux gives out and below node ports.
	PortMin, PortMax uint16

	Timeouts NATTimeouts
}

// NATTimeouts say how long a connection is remembered after its last packet.
type NATTimeouts struct {
	Established time.Duration // TCP that was answered
	Opening     time.Duration // TCP that was not answered
	Closing     time.Duration // TCP that both sides have closed, or one has reset
	Stream      time.Duration // UDP that was answered
	Datagram    time.Duration // UDP that was not, and what the stack helps with
}

const (
	defaultNATConnections = 1 << 16
	defaultNATFragments   = 1 << 12
	defaultNATPortMin     = 1024
	defaultNATPortMax     = 29999

	// maxNATConnections: each takes two entries of one table.
	maxNATConnections = maxEntries / 2

	// maxNATTimeout is beyond what anyone waits for.
	maxNATTimeout = 7 * 24 * time.Hour
)

// Those of the kernel's own tracking where it has them, but for idle TCP: two hours and eleven minutes is when keepalive
// probes have given up, and six hours leaves room for those who have it less often.
var defaultNATTimeouts = NATTimeouts{
	Established: 6 * time.Hour,
	Opening:     time.Minute,
	Closing:     10 * time.Second,
	Stream:      2 * time.Minute,
	Datagram:    30 * time.Second,
}

func (c NATConfig) withDefaults() NATConfig {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Connections == 0 {
		c.Connections = defaultNATConnections
	}
	if c.Fragments == 0 {
		c.Fragments = defaultNATFragments
	}
	if c.PortMin == 0 && c.PortMax == 0 {
		c.PortMin, c.PortMax = defaultNATPortMin, defaultNATPortMax
	}
	standard := defaultNATTimeouts.fields()
	for i, f := range c.Timeouts.fields() {
		if *f.value == 0 {
			*f.value = *standard[i].value
		}
	}
	return c
}

// Validate tells all that is wrong with a NATConfig.
func (c NATConfig) Validate() error {
	var errs []error
	if c.Connections < 0 || c.Connections > maxNATConnections {
		errs = append(errs, fmt.Errorf("connections are %d, not within 1 to %d", c.Connections, maxNATConnections))
	}
	if c.Fragments < 0 || c.Fragments > maxEntries {
		errs = append(errs, fmt.Errorf("fragments are %d, not within 1 to %d", c.Fragments, maxEntries))
	}
	if c.PortMax < c.PortMin || (c.PortMin == 0 && c.PortMax != 0) {
		errs = append(errs, fmt.Errorf("ports %d to %d are no range", c.PortMin, c.PortMax))
	}
	for _, f := range c.Timeouts.fields() {
		if *f.value < 0 || *f.value > maxNATTimeout {
			errs = append(errs, fmt.Errorf("timeout %s is %s, not within %s", f.name, *f.value, maxNATTimeout))
		}
	}
	return errors.Join(errs...)
}

type timeoutField struct {
	name  string
	value *time.Duration
}

func (t *NATTimeouts) fields() []timeoutField {
	return []timeoutField{
		{"Established", &t.Established},
		{"Opening", &t.Opening},
		{"Closing", &t.Closing},
		{"Stream", &t.Stream},
		{"Datagram", &t.Datagram},
	}
}
