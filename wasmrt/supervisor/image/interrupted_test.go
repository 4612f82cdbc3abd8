package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/petrelrun/petrel/test/dockerregistry"
)

// wire passes connections on to a registry and cuts each when so many bytes have come back over it, or over all of them.
type wire struct {
	host   string
	limit  atomic.Int64 // bytes of a connection; 0: no limit
	total  atomic.Int64 // bytes of all connections; 0: no limit
	passed atomic.Int64
	cuts   atomic.Int64
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{host: listener.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			open = append(open, near, far)
			mu.Unlock()
			all.Go(func() { _, _ = io.Copy(far, near) })
			all.Go(func() { w.back(near, far) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return w
}

func (w *wire) back(near, far net.Conn) {
	defer far.Close()
	defer near.Close()
	buffer := make([]byte, 16<<10)
	for sum := int64(0); ; {
		n, err := far.Read(buffer)
		limit, total := w.limit.Load(), w.total.Load()
		if limit > 0 && sum+int64(n) > limit || total > 0 && w.passed.Load() > total {
			w.cuts.Add(1)
			return
		}
		sum += int64(n)
		w.passed.Add(int64(n))
		if _, failed := near.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

// TestInterruptedPulls: what Debian's registry has sent before its connections broke is not asked for again, whether the
// pull goes on or another process begins it anew, over one connection or several.
func TestInterruptedPulls(t *testing.T) {
	r := dockerregistry.Start(t, dockerregistry.Options{TLS: true, Auth: true})
	good := authn.AuthConfig{Username: dockerregistry.User, Password: dockerregistry.Password}
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"one connection": chunk - 77, "several": 4*chunk + 99} {
		t.Run(name, func(t *testing.T) {
			content := module(size)
			r.Push(t, strings.ReplaceAll(name, " ", "-")+"/app:v1", dockerregistry.Module(t, content))
			wire := newWire(t, r.Host)
			w := newWorld(t)
			dir := settings(t, map[string]string{filepath.Join(wire.host, "ca.crt"): string(ca)})
			ref := wire.host + "/" + strings.ReplaceAll(name, " ", "-") + "/app:v1"
			pull := func() (*Image, error) {
				w.puller.cfg.HostsDir = dir
				return w.puller.Pull(context.Background(), ref, good)
			}
			wire.total.Store(int64(size) / 2)
			if _, err := pull(); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("a pull whose connections break and come not again: %v", err)
			}
			w.puller.Close()
			w.open(t)
			wire.total.Store(0)
			wire.limit.Store(3 << 19)
			i, err := pull() // no connection lives for a request's whole answer: it comes to an end only by going on
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("stored %d bytes, %v", len(got), err)
			}
			if wire.cuts.Load() == 0 {
				t.Error("no connection broke")
			}
			w.noParts(t)
		})
	}
}
