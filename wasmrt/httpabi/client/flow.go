package client

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// flowSize is how much of a body waits between the guest and the connection, in bytes. With MaxOpen exchanges it bounds
// the host's memory for one instance.
const flowSize = 32 << 10

var errFlowClosed = errors.New("the exchange is closed")

// flow is a body on its way: one side is the guest, which never waits, the other a goroutine of the host, which does.
type flow struct {
	changed func() // told whenever the guest could go on

	mu     sync.Mutex
	cond   sync.Cond // the host's side waits for room or bytes
	buf    bytes.Buffer
	err    error // what reads return after the bytes; nil while it may go on
	closed bool  // nobody reads any more
}

func newFlow(changed func()) *flow {
	f := &flow{changed: changed}
	f.cond.L = &f.mu
	return f
}

// put takes what there is room for, for the guest.
func (f *flow) put(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, errFlowClosed
	case f.err != nil:
		return 0, f.err
	}
	n := min(len(p), flowSize-f.buf.Len())
	f.buf.Write(p[:n])
	f.cond.Broadcast()
	return n, nil
}

// get gives what is there, for the guest; zero without an error means nothing yet.
func (f *flow) get(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.buf.Len() == 0 {
		return 0, f.err
	}
	n, _ := f.buf.Read(p) // it is not empty
	f.cond.Broadcast()
	return n, nil
}

// Write waits until all of p has room.
func (f *flow) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written := 0
	for written < len(p) {
		for !f.closed && f.buf.Len() == flowSize {
			f.cond.Wait()
		}
		if f.closed {
			return written, errFlowClosed
		}
		n := min(len(p)-written, flowSize-f.buf.Len())
		f.buf.Write(p[written : written+n])
		written += n
		f.changed()
	}
	return written, nil
}

// Read waits for bytes or the end.
func (f *flow) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && f.err == nil && f.buf.Len() == 0 {
		f.cond.Wait()
	}
	if f.closed {
		return 0, errFlowClosed
	}
	if f.buf.Len() == 0 {
		return 0, f.err
	}
	n, err := f.buf.Read(p)
	f.changed()
	return n, err
}

// end says what comes after the bytes: io.EOF, or what broke.
func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.cond.Broadcast()
	f.changed()
}

// Close lets go of everybody. What is there is lost.
func (f *flow) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.buf = bytes.Buffer{}
	f.cond.Broadcast()
	return nil
}

var _ io.ReadWriteCloser = (*flow)(nil)
