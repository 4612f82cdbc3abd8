package runner

import (
	"context"
	"sync"
	"time"
)

const (
	// chorePause is between two rounds, while there is anything to do.
	chorePause = time.Second
	// soonPause is it while many servers are awake.
	soonPause = 100 * time.Millisecond
	// newsPause is between two tellings of a guest's failures.
	newsPause = 5 * time.Second
)

// chores is what has to be looked after from time to time: servers that may go to sleep, failures that are to be told.
// One goroutine does it for all containers; it sleeps without a timer while nothing is to be done.
type chores struct {
	kick  chan struct{}
	slept func(n int) // told of servers that went to sleep

	mu    sync.Mutex
	awake map[*httpServer]struct{}
	news  map[*container]struct{}
}

func newChores(slept func(n int)) *chores {
	return &chores{slept: slept, kick: make(chan struct{}, 1), awake: map[*httpServer]struct{}{}, news: map[*container]struct{}{}}
}

// watch has a server looked after until it sleeps.
func (c *chores) watch(s *httpServer) {
	c.mu.Lock()
	c.awake[s] = struct{}{}
	c.mu.Unlock()
	c.wake()
}

// tellLater has a container's failures told as soon as they may be.
func (c *chores) tellLater(of *container) {
	c.mu.Lock()
	c.news[of] = struct{}{}
	c.mu.Unlock()
	c.wake()
}

func (c *chores) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *chores) run(ctx context.Context) {
	for {
		select {
		case <-c.kick:
		case <-ctx.Done():
			return
		}
		for c.some() {
			pause := time.NewTimer(c.pause())
			select {
			case now := <-pause.C:
				c.round(now)
			case <-ctx.Done():
				pause.Stop()
				return
			}
		}
	}
}

func (c *chores) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.awake) > manyAwake {
		return soonPause
	}
	return chorePause
}

func (c *chores) some() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.awake)+len(c.news) > 0
}

func (c *chores) round(now time.Time) {
	c.mu.Lock()
	servers := make([]*httpServer, 0, len(c.awake))
	for s := range c.awake {
		servers = append(servers, s)
	}
	news := make([]*container, 0, len(c.news))
	for n := range c.news {
		news = append(news, n)
	}
	c.mu.Unlock()
	slept, after := 0, restAfter
	if len(servers) > manyAwake {
		after = restSoonAfter
	}
	for _, s := range servers {
		if s.rest(now, after) {
			c.forget(s)
			slept++
		}
	}
	c.slept(slept)
	for _, n := range news {
		if n.tellFailures(now) {
			c.mu.Lock()
			delete(c.news, n)
			c.mu.Unlock()
		}
	}
}

// forget drops a server that sleeps, unless it has woken meanwhile.
func (c *chores) forget(s *httpServer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awake == nil || s.closing {
		c.mu.Lock()
		delete(c.awake, s)
		c.mu.Unlock()
	}
}
