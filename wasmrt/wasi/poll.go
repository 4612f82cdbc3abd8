package wasi

import (
	"context"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// maxSubscriptions bounds what one poll_oneoff waits for: each descriptor to read and to write, and some clocks.
const maxSubscriptions = 2*MaxMaxFiles + 64

const (
	subscriptionSize = 48
	eventSize        = 32

	eventClock   = 0
	eventFdRead  = 1
	eventFdWrite = 2

	clockAbstime = 1
	eventHangup  = 1
)

// subscription is one thing that a guest waits for, and what has come of it.
type subscription struct {
	userdata uint64
	kind     uint8
	errno    Errno
	done     bool
	hangup   bool
	due      time.Duration // of a clock, on the monotonic one
	d        *descriptor
	bytes    uint64 // to be read
}

func pollOneoff(c call) Errno {
	n := c.u32(2)
	if n == 0 || n > maxSubscriptions {
		return ErrnoInval
	}
	in, errno := c.bytes(c.u32(0), n*subscriptionSize)
	if errno != 0 {
		return errno
	}
	out, errno := c.bytes(c.u32(1), n*eventSize)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(3), 4); errno != 0 {
		return errno
	}
	c.h.Spend(costCall + uint64(n)*costEntry)
	subs := c.s.polls[:0]
	for ; len(in) > 0; in = in[subscriptionSize:] {
		subs = append(subs, c.subscription(in[:subscriptionSize]))
	}
	count, errno := c.poll(subs, out)
	clear(subs) // no descriptor is kept alive
	c.s.polls = subs[:0]
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(3), count)
}

// subscription reads one of the guest's.
func (c call) subscription(b []byte) subscription {
	s := subscription{userdata: le.Uint64(b), kind: b[8]}
	switch s.kind {
	case eventClock:
		s.due, s.errno = clockDue(le.Uint32(b[16:]), le.Uint64(b[24:]), le.Uint16(b[40:]))
	case eventFdRead, eventFdWrite:
		s.d, s.errno = c.s.lookup(le.Uint32(b[16:]), rightPollFdReadwrite)
	default:
		s.errno = ErrnoInval
	}
	return s
}

// clockDue is when a clock's time has come, on the monotonic clock.
func clockDue(clock uint32, timeout uint64, flags uint16) (time.Duration, Errno) {
	if clock > clockMonotonic || flags&^clockAbstime != 0 {
		return 0, ErrnoInval
	}
	now := monotonic()
	due := time.Duration(min(timeout, math.MaxInt64))
	switch {
	case flags&clockAbstime == 0 && due > math.MaxInt64-now:
		return math.MaxInt64, 0
	case flags&clockAbstime == 0:
		return now + due, 0
	case clock == clockRealtime:
		if wall := realtime(); due > wall {
			return clockDue(clockMonotonic, uint64(due-wall), 0)
		}
		return 0, 0
	}
	return due, 0
}

// poll waits until at least one subscription has something to tell, and writes the events.
func (c call) poll(subs []subscription, out []byte) (uint32, Errno) {
	w := &c.s.wait
	for {
		w.begin()
		ready, next, errno := c.check(subs)
		if errno != 0 {
			return 0, errno
		}
		if ready {
			return putEvents(subs, out), 0
		}
		if c.ended() {
			return 0, ErrnoIntr
		}
		d := forever
		if next < math.MaxInt64 {
			d = max(next-monotonic(), 0)
		}
		c.h.Block(func(ctx context.Context) { w.sleep(ctx, d) })
	}
}

// check looks at every subscription once. next is when the first clock is due.
func (c call) check(subs []subscription) (ready bool, next time.Duration, errno Errno) {
	next = math.MaxInt64
	w := &c.s.wait
	for i := range subs {
		s := &subs[i]
		switch {
		case s.errno != 0:
			s.done = true
		case s.kind == eventClock:
			s.done = monotonic() >= s.due
			next = min(next, s.due)
		default:
			s.done = c.checkFile(s)
		}
		ready = ready || s.done
	}
	if len(w.wanted) == 0 {
		return ready, next, 0
	}
	if err := w.apply(); err != nil {
		return false, 0, errnoOf(err)
	}
	w.look()
	for i := range subs {
		if s := &subs[i]; s.d != nil && !s.done {
			s.checkSocket()
			ready = ready || s.done
		}
	}
	return ready, next, 0
}

// checkFile tells whether a descriptor is ready; of sockets it only notes that they are wanted.
func (c call) checkFile(s *subscription) bool {
	if d, ok := s.d.object.(pending); ok && !d.ready() {
		return false
	}
	_ = c.settle(s.d)
	want := uint32(unix.EPOLLIN | unix.EPOLLRDHUP)
	if s.kind == eventFdWrite {
		want = unix.EPOLLOUT
	}
	switch o := s.d.object.(type) {
	case *stdin:
		n, ready := o.in.waiting()
		s.bytes = uint64(n)
		return ready
	case regular:
		if st, errno := o.stat(); errno == 0 && int64(st.size) > s.d.offset {
			s.bytes = st.size - uint64(s.d.offset)
		}
	case *conn:
		c.s.wait.want(&o.socket, want)
		return false
	case *listener:
		c.s.wait.want(&o.socket, want&^unix.EPOLLRDHUP)
		return false
	}
	return true
}

// checkSocket sees what the kernel said of a socket.
func (s *subscription) checkSocket() {
	var k *socket
	switch o := s.d.object.(type) {
	case *conn:
		k = &o.socket
	case *listener:
		k = &o.socket
	default:
		return
	}
	mask := uint32(unix.EPOLLIN | unix.EPOLLRDHUP)
	if s.kind == eventFdWrite {
		mask = unix.EPOLLOUT
	}
	s.done = k.ready&(mask|unix.EPOLLERR|unix.EPOLLHUP) != 0
	s.hangup = k.ready&unix.EPOLLHUP != 0
	if s.done && s.kind == eventFdRead {
		s.bytes = 1
		if o, ok := s.d.object.(*conn); ok {
			s.bytes = uint64(o.hasInput())
			s.hangup = s.hangup || k.ready&unix.EPOLLRDHUP != 0 && s.bytes == 0
		}
	}
}

func putEvents(subs []subscription, out []byte) uint32 {
	count := uint32(0)
	for i := range subs {
		s := &subs[i]
		if !s.done {
			continue
		}
		b := out[count*eventSize:][:eventSize]
		clear(b)
		le.PutUint64(b, s.userdata)
		le.PutUint16(b[8:], uint16(s.errno))
		b[10] = s.kind
		if s.kind == eventFdRead {
			le.PutUint64(b[16:], s.bytes)
		}
		if s.hangup {
			le.PutUint16(b[24:], eventHangup)
		}
		count++
	}
	return count
}
