package image

import (
	"context"
	"sync/atomic"
	"time"
)

// tellEvery is how often a pull that takes long is told of in the log.
const tellEvery = 10 * time.Second

// Progress is how far a pull is.
type Progress struct {
	// Done of Total bytes are there. Total is 0 until the manifest is.
	Done, Total int64
	Started     time.Time
}

// progress counts the bytes of a pull.
type progress struct {
	done, total atomic.Int64
	started     time.Time
}

// counter counts the bytes of one blob for a pull. Downloads that begin again set it back.
type counter struct {
	of  *progress
	got atomic.Int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	c.got.Add(int64(len(b)))
	c.of.done.Add(int64(len(b)))
	return len(b), nil
}

func (c *counter) set(n int64) { c.of.done.Add(n - c.got.Swap(n)) }

func (p *progress) now() Progress {
	return Progress{Done: p.done.Load(), Total: p.total.Load(), Started: p.started}
}

// Progress tells how far the pull of an image is, when one runs.
func (p *Puller) Progress(ref string) (Progress, bool) {
	r, err := parse(ref)
	if err != nil {
		return Progress{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if running := p.running[canonical(r)]; len(running) > 0 {
		return running[len(running)-1].now(), true
	}
	return Progress{}, false
}

// begin makes the pull known until it ends, and tells the log of it while it lasts.
func (p *Puller) begin(ctx context.Context, ref string) (*progress, func()) {
	pr := &progress{started: p.cfg.Now()}
	p.mu.Lock()
	p.running[ref] = append(p.running[ref], pr)
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		ticker := time.NewTicker(tellEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				at := pr.now()
				p.cfg.Logger.Info("image is being pulled", "image", ref, "bytes", at.Done, "of", at.Total, "since", at.Started)
			}
		}
	}()
	return pr, func() {
		cancel()
		<-told
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, other := range p.running[ref] {
			if other == pr {
				p.running[ref] = append(p.running[ref][:i:i], p.running[ref][i+1:]...)
				break
			}
		}
		if len(p.running[ref]) == 0 {
			delete(p.running, ref)
		}
	}
}
