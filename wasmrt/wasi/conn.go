package wasi

import (
	"golang.org/x/sys/unix"
)

// maxDatagram bounds a datagram, as UDP does.
const maxDatagram = 64 << 10

// conn is a connection: a stream, or a datagram socket with one peer.
type conn struct {
	socket
	kind fileType
}

var _ stream = (*conn)(nil)

func (k *conn) fileType() fileType      { return k.kind }
func (k *conn) stat() (filestat, Errno) { return filestat{kind: k.kind, nlink: 1}, 0 }

func (k *conn) read(c call, p []byte, wait bool) (int, Errno) {
	return k.receive(c, p, 0, wait)
}

func (k *conn) receive(c call, p []byte, flags int, wait bool) (int, Errno) {
	return k.retry(c, unix.EPOLLIN, wait, func() (int, error) { return recv(k.fd, p, flags) })
}

// write goes on until all is sent when it may wait.
func (k *conn) write(c call, p []byte, wait bool) (int, Errno) {
	sent := 0
	for {
		n, errno := k.retry(c, unix.EPOLLOUT, wait, func() (int, error) { return send(k.fd, p[sent:]) })
		sent += n
		if errno != 0 && sent > 0 {
			return sent, 0 // the error comes again
		}
		if errno != 0 || !wait || sent >= len(p) {
			return sent, errno
		}
	}
}

// sendWhole sends all buffers as one datagram.
func (k *conn) sendWhole(c call, b *buffers, wait bool) (uint32, Errno) {
	var message []byte
	for {
		p, errno := b.next()
		if errno != 0 {
			return 0, errno
		}
		if p == nil {
			break
		}
		if len(message)+len(p) > maxDatagram {
			return 0, ErrnoMsgSize
		}
		if message == nil {
			message = p[:len(p):len(p)] // most have one buffer
			continue
		}
		message = append(message, p...)
	}
	if b.cut {
		return 0, ErrnoInval
	}
	c.h.Spend(uint64(len(message)) / costBytes)
	n, errno := k.retry(c, unix.EPOLLOUT, wait, func() (int, error) { return send(k.fd, message) })
	return uint32(n), errno
}

// receiveWhole receives one datagram into all buffers. What does not fit is lost.
func (k *conn) receiveWhole(c call, b *buffers, flags int, wait bool) (n uint32, truncated bool, errno Errno) {
	message := make([]byte, maxDatagram)
	got, errno := k.receive(c, message, flags, wait)
	if errno != 0 {
		return 0, false, errno
	}
	c.h.Spend(uint64(got) / costBytes)
	message = message[:got]
	for len(message) > 0 {
		p, errno := b.next()
		if errno != 0 {
			return 0, false, errno
		}
		if p == nil {
			return n, true, 0
		}
		m := copy(p, message)
		n += uint32(m)
		message = message[m:]
	}
	return n, false, 0
}

// hasInput tells how many bytes wait to be read.
func (k *conn) hasInput() int {
	n, err := unix.IoctlGetInt(k.fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
