package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNAT notes which interfaces it was given.
type fakeNAT struct {
	mu   sync.Mutex
	set  []string
	fail error
}

func (f *fakeNAT) SetInterfaces(names []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = append(f.set, strings.Join(names, "+"))
	return f.fail
}

func (f *fakeNAT) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestInterfacesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nat := &fakeNAT{}
		var mu sync.Mutex
		now, broken := []string{"eth0"}, error(nil)
		become := func(err error, names ...string) {
			mu.Lock()
			now, broken = names, err
			mu.Unlock()
			time.Sleep(interfacesEvery)
			synctest.Wait()
		}
		var log bytes.Buffer
		o := &outside{nat: nat, log: slog.New(slog.NewTextHandler(&log, nil)), interfaces: func() ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return now, broken
		}}
		o.attach()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.run(ctx) }()
		become(nil, "eth0")
		become(nil, "petrel-vxlan", "eth0") // a tunnel is made
		become(nil, "eth0", "petrel-vxlan")
		become(errors.New("no netlink"))
		become(errors.New("no netlink"))
		nat.fail = errors.New("no room")
		become(nil, "eth0")
		cancel()
		<-done
		if got := fmt.Sprint(nat.set); got != "[eth0 eth0+petrel-vxlan eth0]" {
			t.Errorf("interfaces were %s", got)
		}
		if text := log.String(); strings.Count(text, "no netlink") != 1 || strings.Count(text, "no room") != 1 {
			t.Errorf("told:\n%s", text)
		}
	})
}
