package wasi

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/egress"
)

// System is what one instance sees of the world. One goroutine at a time may use it.
type System struct {
	args, env list
	maxFiles  int
	mounts    *mounts

	slots      []*descriptor
	mark       []saved
	opened     int // descriptors that count against maxFiles
	markOpened int

	in      input
	out     [2]output
	scratch *scratch // nil when a mount covers it

	egress  *egress.Policy
	lookups lookups
	wait    waiter
	polls   []subscription // kept between calls
	closed  bool
}

// New opens the mounts and hands them out: the standard streams are 0 to 2, then come the mounted directories, the
// listeners and the scratch directory.
func New(cfg Config) (*System, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := openMounts(cfg.Mounts)
	if err != nil {
		return nil, err
	}
	s := &System{args: newList(cfg.Args), maxFiles: cfg.MaxFiles, mounts: m}
	if s.maxFiles == 0 {
		s.maxFiles = DefaultMaxFiles
	}
	s.addStreams()
	for _, p := range m.preopens {
		s.give(&descriptor{object: p.dir, guestPath: p.guestPath, preopen: true, access: access{base: rightsDir, inheriting: rightsAll}})
	}
	env := cfg.environ()
	if len(cfg.Listeners) > 0 {
		env = withListeners(env, len(s.slots), len(cfg.Listeners))
	}
	s.env = newList(env)
	for _, l := range cfg.Listeners {
		o, err := newListener(l, &s.wait)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("take listener: %w", err), s.Close())
		}
		s.give(&descriptor{object: o, access: access{base: rightsListen, inheriting: rightsConn}})
	}
	if !m.covers(ScratchPath) {
		s.scratch = newScratch()
		s.give(&descriptor{object: s.scratch.root, guestPath: ScratchPath, preopen: true, access: access{base: rightsDir, inheriting: rightsAll}})
	}
	s.Mark()
	return s, nil
}

func (s *System) give(d *descriptor) { s.slots = append(s.slots, d) }

func (s *System) addStreams() {
	s.in.waiter = &s.wait
	s.give(&descriptor{object: &stdin{in: &s.in}, access: access{base: rightsStream &^ rightFdWrite}})
	for i := range s.out {
		s.give(&descriptor{object: &stdout{out: &s.out[i]}, access: access{base: rightsStream &^ rightFdRead}})
	}
}

// withListeners tells the guest how many sockets it has, as systemd does, and where they begin: systemd's are always
// from 3 on, which is so here as long as nothing is mounted.
func withListeners(env []string, first, count int) []string {
	for _, e := range []string{"LISTEN_FDS=" + strconv.Itoa(count), "PETREL_LISTEN_FD=" + strconv.Itoa(first)} {
		key, _, _ := strings.Cut(e, "=")
		set := false
		for _, have := range env {
			set = set || strings.HasPrefix(have, key+"=")
		}
		if !set {
			env = append(env, e)
		}
	}
	return env
}

// SetStreams sets what the standard streams are from now on. Nil ones are empty, or lose what is written.
func (s *System) SetStreams(in io.Reader, out, err io.Writer) {
	s.in.set(in)
	s.out[0].set(out)
	s.out[1].set(err)
}

// SetEgress sets what the guest may reach from now on; nil is nothing.
func (s *System) SetEgress(p *egress.Policy) { s.egress = p }

// OpenFiles tells how many descriptors the guest has opened.
func (s *System) OpenFiles() int { return s.opened }

// ScratchBytes tells how much the scratch directory holds.
func (s *System) ScratchBytes() int64 {
	if s.scratch == nil {
		return 0
	}
	return s.scratch.bytes
}

// Close closes everything. It may be called twice.
func (s *System) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	for _, d := range s.slots {
		if d != nil && !d.held {
			d.release()
		}
	}
	for _, m := range s.mark {
		if m.d != nil {
			m.d.release()
		}
	}
	s.slots, s.mark = nil, nil
	s.in.forget()
	s.lookups.close()
	return errors.Join(s.wait.close(), s.mounts.release())
}
