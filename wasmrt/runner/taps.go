package runner

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"

	"github.com/petrelrun/petrel/wasmrt/runner/crilog"
)

// maxTapped bounds what waits for one who reads along. A guest never waits for him: who falls behind so far is let go.
const maxTapped = 1 << 20

// taps are those who read a container's output along with its log.
type taps struct {
	count atomic.Int32

	mu  sync.Mutex
	all map[*tap]struct{}
}

// tap is one stream of one reader.
type tap struct {
	stream string
	to     io.Writer

	mu      sync.Mutex
	more    sync.Cond
	waiting []byte
	closed  bool // nothing comes any more
	lost    bool // he fell behind, or does not read
	done    chan struct{}
}

// open has what is written to the stream from now on go to w, too, from a goroutine of its own that ends with close.
func (t *taps) open(stream string, to io.Writer) *tap {
	p := &tap{stream: stream, to: to, done: make(chan struct{})}
	p.more.L = &p.mu
	t.mu.Lock()
	if t.all == nil {
		t.all = map[*tap]struct{}{}
	}
	t.all[p] = struct{}{}
	t.mu.Unlock()
	t.count.Add(1)
	go p.run()
	return p
}

// close ends a tap once what waits is written, or cannot be.
func (t *taps) close(p *tap) {
	t.mu.Lock()
	delete(t.all, p)
	t.mu.Unlock()
	t.count.Add(-1)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.more.Signal()
}

func (t *taps) write(stream string, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.all {
		if p.stream == stream {
			p.put(b)
		}
	}
}

func (p *tap) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost = p.lost || len(p.waiting)+len(b) > maxTapped; !p.lost {
		p.waiting = append(p.waiting, b...)
	}
	p.more.Signal()
}

func (p *tap) run() {
	defer close(p.done)
	for {
		p.mu.Lock()
		for len(p.waiting) == 0 && !p.closed && !p.lost {
			p.more.Wait()
		}
		now := p.waiting
		p.waiting = nil
		over := p.lost || p.closed && len(now) == 0
		p.mu.Unlock()
		if over {
			return
		}
		if _, err := io.Copy(p.to, bytes.NewReader(now)); err != nil {
			p.mu.Lock()
			p.lost, p.waiting = true, nil
			p.mu.Unlock()
		}
	}
}

// tapped is a stream of a container: its log's, and whoever reads along.
type tapped struct {
	*crilog.Stream
	name string
	taps *taps
}

// Write implements io.Writer.
func (t *tapped) Write(b []byte) (int, error) {
	if t.taps.count.Load() > 0 {
		t.taps.write(t.name, b)
	}
	return t.Stream.Write(b)
}
