package wasi

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where subscriptions and events are.
const (
	atSubs   = 8192
	atEvents = 16384
)

// sub is a subscription of a test.
type sub struct {
	kind    uint8
	fd      uint32 // or the clock
	timeout time.Duration
	flags   uint16
}

type event struct {
	userdata uint64
	errno    Errno
	kind     uint8
	bytes    uint64
	flags    uint16
}

func (w *world) poll(subs ...sub) ([]event, Errno) {
	w.t.Helper()
	for i, s := range subs {
		b := w.mem[atSubs+i*subscriptionSize:][:subscriptionSize]
		clear(b)
		le.PutUint64(b, uint64(i)+100)
		b[8] = s.kind
		le.PutUint32(b[16:], s.fd)
		le.PutUint64(b[24:], uint64(s.timeout))
		le.PutUint16(b[40:], s.flags)
	}
	if errno := w.call("poll_oneoff", atSubs, atEvents, len(subs), atResult); errno != 0 {
		return nil, errno
	}
	var out []event
	for i := range w.result() {
		b := w.mem[atEvents+i*eventSize:]
		out = append(out, event{le.Uint64(b), Errno(le.Uint16(b[8:])), b[10], le.Uint64(b[16:]), le.Uint16(b[24:])})
	}
	return out, 0
}

// only expects one event of one subscription.
func (w *world) only(i int, subs ...sub) event {
	w.t.Helper()
	events, errno := w.poll(subs...)
	if errno != 0 || len(events) != 1 || events[0].userdata != uint64(i)+100 || events[0].errno != 0 {
		w.t.Fatalf("poll: %+v, %d, want one event of subscription %d", events, errno, i)
	}
	return events[0]
}

func TestPollClocks(t *testing.T) {
	w := newWorld(t, Config{})
	now := func(clock int) time.Duration {
		w.want("clock_time_get", 0, clock, uint64(1), atResult)
		return time.Duration(w.result64())
	}
	for name, make := range map[string]func() sub{
		"relative":           func() sub { return sub{eventClock, clockMonotonic, 20 * time.Millisecond, 0} },
		"relative, realtime": func() sub { return sub{eventClock, clockRealtime, 20 * time.Millisecond, 0} },
		"absolute":           func() sub { return sub{eventClock, clockMonotonic, now(1) + 20*time.Millisecond, clockAbstime} },
		"absolute, realtime": func() sub { return sub{eventClock, clockRealtime, now(0) + 20*time.Millisecond, clockAbstime} },
	} {
		start := time.Now()
		e := w.only(1, sub{eventClock, clockMonotonic, time.Hour, 0}, make())
		if took := time.Since(start); took < 15*time.Millisecond || took > 30*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		if e.kind != eventClock {
			t.Errorf("%s: event %+v", name, e)
		}
	}
	// What has passed, and the end of time.
	for _, s := range []sub{{eventClock, 0, 0, 0}, {eventClock, 1, 5, clockAbstime}, {eventClock, 0, 5, clockAbstime}} {
		w.only(0, s, sub{eventClock, 1, -1, 0})
	}
	if events, errno := w.poll(sub{kind: eventClock, fd: 7}, sub{kind: 9}, sub{eventFdRead, 99, 0, 0}, sub{eventClock, 1, time.Hour, 0}); errno != 0 || len(events) != 3 ||
		events[0].errno != ErrnoInval || events[1].errno != ErrnoInval || events[2].errno != ErrnoBadf {
		t.Errorf("nonsense: %+v, %d", events, errno)
	}
	w.want("poll_oneoff", ErrnoInval, atSubs, atEvents, 0, atResult)
	w.want("poll_oneoff", ErrnoInval, atSubs, atEvents, 0x05555556, atResult)
	w.want("poll_oneoff", ErrnoFault, len(w.mem)-1, atEvents, 1, atResult)
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A guest that waits for anything uses no processor, and ends with its context.
func TestPollWaits(t *testing.T) {
	l := listen(t)
	r, pw := io.Pipe()
	defer func() { _, _ = r.Close(), pw.Close() }()
	for name, subs := range map[string][]sub{
		"clock":    {{eventClock, 1, time.Hour, 0}},
		"stdin":    {{eventFdRead, 0, 0, 0}},
		"listener": {{eventFdRead, 3, 0, 0}},
		"all":      {{eventClock, 0, time.Hour, 0}, {eventFdRead, 0, 0, 0}, {eventFdRead, 3, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{Listeners: []net.Listener{l}})
			w.SetStreams(r, nil, nil)
			before, start := processorTime(t), time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			w.h.ctx = ctx
			if _, errno := w.poll(subs...); errno != ErrnoIntr {
				t.Errorf("errno %d", errno)
			}
			if took := time.Since(start); took < 400*time.Millisecond || took > 30*time.Second {
				t.Errorf("it ended after %v", took)
			}
			if used := processorTime(t) - before; used > 200*time.Millisecond {
				t.Errorf("it used %v of the processor", used)
			}
			if w.h.blocks == 0 || w.h.blocks > 3 {
				t.Errorf("it blocked %d times", w.h.blocks)
			}
		})
	}
}

func TestPollFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "12345")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	fd, _ := w.open(3, "f", 0, readWrite, 0)
	_, _ = w.read(fd, 2)
	if e := w.only(0, sub{eventFdRead, fd, 0, 0}, sub{eventClock, 1, time.Hour, 0}); e.bytes != 3 {
		t.Errorf("%d bytes are left", e.bytes)
	}
	w.only(0, sub{eventFdWrite, fd, 0, 0})
	w.only(0, sub{eventFdWrite, 1, 0, 0})
	if events, _ := w.poll(sub{eventFdRead, 3, 0, 0}); len(events) != 1 || events[0].errno != ErrnoNotCapable {
		t.Errorf("a directory: %+v", events)
	}
}

func TestPollStdin(t *testing.T) {
	w := newWorld(t, Config{})
	w.SetStreams(strings.NewReader("x"), nil, nil)
	w.only(0, sub{eventFdRead, 0, 0, 0})
	r, pw := io.Pipe()
	defer r.Close()
	w.SetStreams(r, nil, nil)
	w.only(1, sub{eventFdRead, 0, 0, 0}, sub{eventClock, 1, time.Millisecond, 0})
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, _ = pw.Write([]byte("abc"))
		_ = pw.Close()
	}()
	if e := w.only(0, sub{eventFdRead, 0, 0, 0}, sub{eventClock, 1, time.Hour, 0}); e.bytes != 3 {
		t.Errorf("%d bytes are there", e.bytes)
	}
	if text, errno := w.read(0, 10); text != "abc" || errno != 0 {
		t.Errorf("read %q, %d", text, errno)
	}
	w.only(0, sub{eventFdRead, 0, 0, 0}, sub{eventClock, 1, time.Hour, 0})
	if text, errno := w.read(0, 10); text != "" || errno != 0 {
		t.Errorf("at the end: %q, %d", text, errno)
	}
}
