package ebpfproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Config of a Proxy.
type Config struct {
	Logger *slog.Logger // nil: slog.Default()

	// CgroupPath is a folder of a cgroup2 file system. Sockets of its processes, and of those in groups below, see the
	// services.
	CgroupPath string

	// PinDir is a folder on a bpffs in which maps and links outlive the process. Empty: they go with it.
	PinDir string

	Sizes Sizes

	// Grace is how long streams to a backend that left its service, and every other, live on. 0: defaultGrace.
	Grace time.Duration
}

// Sizes are the capacities of the tables, in entries. Zero fields get the defaults. A table that outlives the process in
// PinDir is copied when its size changes.
type Sizes struct {
	Frontends     int // one for each ClusterIP and port, two for each external one
	Backends      int // one for each backend of each service, and those whose grace still runs
	Slots         int // each service takes its backends' number, or Maglev, rounded up to a power of two
	Maglev        int // slots of a service with Maglev: a prime
	Affinity      int // clients remembered; the least recently seen go first
	Datagrams     int // datagram sockets remembered that are not connected; likewise
	SourceRanges  int
	NodeAddresses int
}

// The defaults hold 100,000 ClusterIPs with two backends each, in 46 MB of kernel memory.
var defaultSizes = Sizes{
	Frontends:     1 << 17,
	Backends:      1 << 18,
	Slots:         1 << 19,
	Maglev:        1021,
	Affinity:      1 << 16,
	Datagrams:     1 << 16,
	SourceRanges:  1 << 14,
	NodeAddresses: 1 << 10,
}

const (
	// defaultGrace is long enough for a request to finish and short enough that a client of a lost node notices.
	defaultGrace = 10 * time.Second

	// maxEntries bounds each table: arrays are allocated whole.
	maxEntries = 1 << 24

	// maxBackends of one service bounds a single change.
	maxBackends = 1 << 16
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	for _, f := range c.Sizes.fields() {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
	return c
}

// Validate tells all that is wrong with a Config.
func (c Config) Validate() error {
	var errs []error
	if !filepath.IsAbs(c.CgroupPath) {
		errs = append(errs, fmt.Errorf("cgroup path %q is not absolute", c.CgroupPath))
	}
	if c.PinDir != "" && !filepath.IsAbs(c.PinDir) {
		errs = append(errs, fmt.Errorf("pin folder %q is not absolute", c.PinDir))
	}
	if c.Grace < 0 {
		errs = append(errs, fmt.Errorf("grace %s is negative", c.Grace))
	}
	for _, f := range c.Sizes.fields() {
		if *f.value < 0 || *f.value > maxEntries {
			errs = append(errs, fmt.Errorf("size %s is %d, not within 1 to %d", f.name, *f.value, maxEntries))
		}
	}
	if m := c.Sizes.Maglev; m > 0 && !isPrime(m) {
		errs = append(errs, fmt.Errorf("size Maglev is %d, not a prime", m))
	}
	return errors.Join(errs...)
}

type sizeField struct {
	name            string
	value, standard *int
}

func (s *Sizes) fields() []sizeField {
	d := &defaultSizes
	return []sizeField{
		{"Frontends", &s.Frontends, &d.Frontends},
		{"Backends", &s.Backends, &d.Backends},
		{"Slots", &s.Slots, &d.Slots},
		{"Maglev", &s.Maglev, &d.Maglev},
		{"Affinity", &s.Affinity, &d.Affinity},
		{"Datagrams", &s.Datagrams, &d.Datagrams},
		{"SourceRanges", &s.SourceRanges, &d.SourceRanges},
		{"NodeAddresses", &s.NodeAddresses, &d.NodeAddresses},
	}
}

// maps answers the entries of each shared map by its name in bpf/maps.h.
func (s Sizes) maps() map[string]int {
	return map[string]int{
		"petrel_svc":      s.Frontends,
		"petrel_svcstat":  s.Frontends + 1, // ids begin at 1
		"petrel_backend":  s.Backends + 1,
		"petrel_bestat":   s.Backends + 1,
		"petrel_slot":     s.Slots,
		"petrel_aff":      s.Affinity,
		"petrel_udpfwd":   s.Datagrams,
		"petrel_udprev":   s.Datagrams,
		"petrel_srcrange": s.SourceRanges,
		"petrel_node":     s.NodeAddresses,
		"petrel_sk":       0, // kept with the sockets
	}
}
