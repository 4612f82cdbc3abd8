package kernel

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// TestInterfacesThatComeLater: a tunnel that is made after the first Sync is attached to, and one that goes is left.
func TestInterfacesThatComeLater(t *testing.T) {
	proxy, err := ebpfproxy.New(ebpfproxy.Config{Logger: discard, CgroupPath: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	nat, err := ebpfproxy.NewNAT(proxy, ebpfproxy.NATConfig{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var there []string
		var failing error
		p := &programs{nat: nat, machine: Machine{Interfaces: func() ([]string, error) { return there, failing }, Logger: discard}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.followInterfaces(ctx) }()
		for _, now := range [][]string{{"eth0"}, {"eth0", "petrel-vxlan"}, {"eth0"}} {
			p.mu.Lock()
			there = now
			p.mu.Unlock()
			time.Sleep(interfaceLook)
			synctest.Wait()
			p.mu.Lock()
			if !slices.Equal(p.names, now) {
				t.Errorf("attached to %v, want %v", p.names, now)
			}
			p.mu.Unlock()
		}
		p.mu.Lock() // as whoever closes does, and looks that fail are none
		failing = errors.New("no list")
		time.Sleep(3 * interfaceLook)
		cancel()
		<-done
		p.mu.Unlock()
	})
}
