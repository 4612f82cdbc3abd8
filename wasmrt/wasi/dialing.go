package wasi

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/petrelrun/petrel/wasmrt/egress"
)

// dialing is a connection that is being made, or could not be made. When it is there, its descriptor gets the conn.
type dialing struct {
	*attempt
	kind fileType

	mu        sync.Mutex
	fd        int // -1: none
	errno     Errno
	abandoned bool
}

var _ stream = (*dialing)(nil)

func (d *dialing) fileType() fileType                    { return d.kind }
func (d *dialing) stat() (filestat, Errno)               { return filestat{kind: d.kind, nlink: 1}, 0 }
func (d *dialing) read(call, []byte, bool) (int, Errno)  { return 0, d.failure() }
func (d *dialing) write(call, []byte, bool) (int, Errno) { return 0, d.failure() }

// failure is what became of it. It is asked of one that was not settled into a connection.
func (d *dialing) failure() Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errno
}

func (d *dialing) close() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.abandoned = true
	d.drop()
}

func (d *dialing) drop() {
	if d.fd >= 0 {
		closeFd(d.fd)
		d.fd = -1
	}
}

// dial makes the connection, on a goroutine of its own.
func (d *dialing) dial(ctx context.Context, p *egress.Policy, network, address string) {
	k, err := p.DialContext(ctx, network, address)
	fd := -1
	if err == nil {
		fd, err = duplicate(k)
		err = errors.Join(err, k.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fd, d.errno = fd, dialErrno(err)
	if d.abandoned || err != nil {
		d.drop()
	}
}

// dialErrno tells the guest why it cannot reach somebody.
func dialErrno(err error) Errno {
	var denied *egress.DeniedError
	var dns *net.DNSError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &denied):
		return ErrnoAccess
	case errors.As(err, &dns) && dns.IsNotFound:
		return ErrnoNoEnt
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return ErrnoTimedOut
	case errors.As(err, &dns):
		return ErrnoHostUnreach
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return ErrnoTimedOut
	}
	return errnoOf(err)
}

// settle puts a connection in the place of one that was being made, and waits for it unless the descriptor does not block.
func (c call) settle(d *descriptor) Errno {
	o, ok := d.object.(*dialing)
	if !ok {
		return 0
	}
	if !o.ready() {
		if d.nonblocking() {
			return ErrnoAgain
		}
		if errno := o.await(c); errno != 0 {
			return errno
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.errno != 0 {
		return o.errno
	}
	o.cancel()
	d.object = &conn{socket: socket{fd: o.fd, waiter: &c.s.wait}, kind: o.kind}
	o.fd = -1
	return 0
}

// answers is what a name was resolved to: the addresses, one a line.
type answers struct {
	*attempt
	text  []byte
	errno Errno
}

var _ stream = (*answers)(nil)

func (a *answers) fileType() fileType                    { return typeUnknown }
func (a *answers) stat() (filestat, Errno)               { return filestat{kind: typeUnknown, nlink: 1}, 0 }
func (a *answers) close()                                { a.cancel() }
func (a *answers) write(call, []byte, bool) (int, Errno) { return 0, ErrnoBadf }

func (a *answers) read(c call, p []byte, wait bool) (int, Errno) {
	if !a.ready() {
		if !wait {
			return 0, ErrnoAgain
		}
		if errno := a.await(c); errno != 0 {
			return 0, errno
		}
	}
	if a.errno != 0 {
		return 0, a.errno
	}
	n := copy(p, a.text)
	a.text = a.text[n:]
	return n, 0
}

func (a *answers) resolve(ctx context.Context, p *egress.Policy, name string) {
	addresses, err := p.LookupHost(ctx, name)
	a.errno = dialErrno(err)
	var text strings.Builder
	for _, address := range addresses {
		text.WriteString(address.String())
		text.WriteByte('\n')
	}
	a.text = []byte(text.String())
}
