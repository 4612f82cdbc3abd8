package ebpfproxy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNATConfig(t *testing.T) {
	if err := (NATConfig{}).Validate(); err != nil {
		t.Errorf("all defaults: %v", err)
	}
	whole := NATConfig{}.withDefaults()
	if err := whole.Validate(); err != nil || whole.PortMax != defaultNATPortMax || whole.Timeouts != defaultNATTimeouts {
		t.Errorf("%+v: %v", whole, err)
	}
	for want, cfg := range map[string]NATConfig{
		"connections are -1":           {Connections: -1},
		"connections are 8388609":      {Connections: maxNATConnections + 1},
		"fragments are -1":             {Fragments: -1},
		"fragments are 16777217":       {Fragments: maxEntries + 1},
		"ports 2000 to 1999":           {PortMin: 2000, PortMax: 1999},
		"ports 0 to 1999":              {PortMax: 1999},
		"ports 2000 to 0":              {PortMin: 2000},
		"timeout Stream is -1s":        {Timeouts: NATTimeouts{Stream: -time.Second}},
		"timeout Established is 169h":  {Timeouts: NATTimeouts{Established: 169 * time.Hour}},
		"timeout Closing is -1ns, not": {Timeouts: NATTimeouts{Closing: -1}},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
		if _, err := NewNAT(&Proxy{}, cfg); err == nil {
			t.Errorf("%+v makes a NAT", cfg)
		}
	}
	if _, err := NewNAT(nil, NATConfig{}); err == nil {
		t.Error("a NAT without a proxy")
	}
}

// TestNATClosed: a NAT that is not open says so.
func TestNATClosed(t *testing.T) {
	p, err := New(Config{CgroupPath: "/sys/fs/cgroup"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNAT(p, NATConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, statsErr := n.Stats()
	for what, err := range map[string]error{
		"Open":          n.Open(context.Background()),
		"SetInterfaces": n.SetInterfaces([]string{"eth0"}),
		"SetAddresses":  n.SetAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.1")}),
		"Stats":         statsErr,
		"tend":          n.tend(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
}
