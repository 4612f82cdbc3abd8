package engine

import (
	"bytes"
	"crypto/rand"
	"io"
)

// maxStreamChunk bounds what one read or write of a standard stream copies.
const maxStreamChunk = 64 << 10

// stdin lets a guest read a stream of the host, and lets go when the guest is killed. It reads into a buffer of its own:
// a read left behind must not write to memory that is gone.
type stdin struct {
	in *Instance
	r  io.Reader
}

type result struct {
	data []byte
	n    int
	err  error
}

func (s *stdin) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	done := make(chan result, 1)
	buf := make([]byte, min(len(p), maxStreamChunk))
	go func() {
		n, err := s.r.Read(buf)
		done <- result{data: buf, n: n, err: err}
	}()
	select {
	case got := <-done:
		n := copy(p, got.data[:got.n])
		if n > 0 && got.err == io.EOF {
			return n, nil // the next read says so again
		}
		return n, got.err
	case <-s.in.ctx.Done():
		interrupt()
		return 0, nil // not reached
	}
}

// stdout is the same for what a guest writes.
type stdout struct {
	in *Instance
	w  io.Writer // nil: nobody wants it
}

func (s *stdout) Write(p []byte) (int, error) {
	if s.w == nil {
		s.in.alive()
		return len(p), nil
	}
	written := 0
	for written < len(p) {
		n, err := s.write(p[written:min(len(p), written+maxStreamChunk)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (s *stdout) write(p []byte) (int, error) {
	done := make(chan result, 1)
	data := bytes.Clone(p)
	go func() {
		n, err := s.w.Write(data)
		done <- result{n: n, err: err}
	}()
	select {
	case got := <-done:
		return got.n, got.err
	case <-s.in.ctx.Done():
		interrupt()
		return 0, nil // not reached
	}
}

// source is the kernel's randomness, in pieces: a guest may ask for gigabytes at once.
type source struct{ in *Instance }

func (s *source) Read(p []byte) (int, error) {
	read := 0
	for read < len(p) {
		s.in.alive()
		n, err := rand.Read(p[read:min(len(p), read+maxStreamChunk)])
		read += n
		if err != nil {
			return read, err
		}
	}
	return read, nil
}
