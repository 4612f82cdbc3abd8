package wasi

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/egress"
)

func (w *world) grant(grants ...string) {
	w.t.Helper()
	p, err := egress.Parse(grants)
	if err != nil {
		w.t.Fatal(err)
	}
	w.SetEgress(p)
}

func echo(t *testing.T) (tcp, udp string) {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			k, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 100)
			n, _ := k.Read(buf)
			_, _ = k.Write(buf[:n])
			_ = k.Close()
		}
	}()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buf[:n], from)
		}
	}()
	return l.Addr().String(), p.LocalAddr().String()
}

func TestDial(t *testing.T) {
	tcp, udp := echo(t)
	w := newWorld(t, Config{})
	w.grant("tcp:127.0.0.1:*", "udp:127.0.0.1:*")
	for network, address := range map[int]string{networkTCP: tcp, networkUDP: udp} {
		w.want("net.dial", 0, network, address, atResult)
		fd := w.result()
		if n, errno := w.write(fd, "hello"); n != 5 || errno != 0 { // waits for the connection
			t.Errorf("write: %d, %d", n, errno)
		}
		w.only(0, sub{eventFdRead, fd, 0, 0})
		if text, errno := w.read(fd, 100); text != "hello" || errno != 0 {
			t.Errorf("read %q, %d", text, errno)
		}
		w.want("net.dial_status", 0, fd)
		w.want("net.address", 0, fd, 1, atBuffer, 100, atResult)
		if got := string(w.mem[atBuffer:][:w.result()]); got != address {
			t.Errorf("the peer is %q, want %q", got, address)
		}
		w.want("net.address", ErrnoOverflow, fd, 1, atBuffer, 3, atResult)
		w.want("fd_fdstat_get", 0, fd, atBuffer)
		if kind, want := fileType(w.mem[atBuffer]), map[int]fileType{networkTCP: typeStream, networkUDP: typeDatagram}[network]; kind != want {
			t.Errorf("it is a %d, want %d", kind, want)
		}
	}
	w.want("net.dial", ErrnoInval, 3, tcp, atResult)
	w.want("net.dial", ErrnoInval, networkTCP, "no port", atResult)
	w.want("net.dial", ErrnoInval, networkTCP, "x:http", atResult)
	w.want("net.dial", ErrnoNameTooLong, networkTCP, strings.Repeat("x", 600), atResult)
}

func TestDialWithoutBlocking(t *testing.T) {
	tcp, _ := echo(t)
	w := newWorld(t, Config{})
	w.grant("tcp:127.0.0.0/8:*")
	refused := listen(t)
	_ = refused.Close()
	for address, want := range map[string]Errno{tcp: 0, refused.Addr().String(): ErrnoConnRefused, "10.0.0.1:80": ErrnoAccess} {
		w.want("net.dial", 0, networkTCP, address, atResult)
		fd := w.result()
		w.want("fd_fdstat_set_flags", 0, fd, int(flagNonblock))
		for {
			w.only(0, sub{eventFdWrite, fd, 0, 0}, sub{eventClock, 1, 20 * time.Second, 0})
			if errno := w.call("net.dial_status", fd); errno != ErrnoInProgress {
				if errno != want {
					t.Errorf("%s: %d, want %d", address, errno, want)
				}
				break
			}
		}
		if _, errno := w.write(fd, "x"); errno != want {
			t.Errorf("writing to %s: %d, want %d", address, errno, want)
		}
	}
	if !w.Reset() || w.OpenFiles() != 0 {
		t.Error("it could not be reset")
	}
	w.SetEgress(nil)
	w.want("net.dial", 0, networkTCP, tcp, atResult)
	if _, errno := w.read(w.result(), 1); errno != ErrnoAccess {
		t.Errorf("without a policy: %d", errno)
	}
}

func TestDatagrams(t *testing.T) {
	_, udp := echo(t)
	w := newWorld(t, Config{})
	w.grant("*")
	w.want("net.dial", 0, networkUDP, udp, atResult)
	fd := w.result()
	// Two buffers are one datagram, and a datagram fills two.
	copy(w.mem[atBuffer:], "hello")
	two := func(first, second int) {
		le.PutUint32(w.mem[atVector:], atBuffer)
		le.PutUint32(w.mem[atVector+4:], uint32(first))
		le.PutUint32(w.mem[atVector+8:], uint32(atBuffer+first))
		le.PutUint32(w.mem[atVector+12:], uint32(second))
	}
	two(2, 3)
	w.want("fd_write", 0, fd, atVector, 2, atResult)
	if w.result() != 5 {
		t.Errorf("sent %d", w.result())
	}
	clear(w.mem[atBuffer:][:10])
	two(1, 3)
	w.want("sock_recv", 0, fd, atVector, 2, 0, atResult, atResult+4)
	if got, flags := string(w.mem[atBuffer:][:w.result()]), w.mem[atResult+4]; got != "hell" || flags != recvTruncated {
		t.Errorf("received %q with flags %d", got, flags)
	}
	w.vector(atBuffer, maxDatagram+1)
	w.want("fd_write", ErrnoMsgSize, fd, atVector, 1, atResult)
}

func TestResolve(t *testing.T) {
	w := newWorld(t, Config{})
	w.want("net.resolve", 0, "localhost", atResult)
	if _, errno := w.read(w.result(), 100); errno != ErrnoAccess {
		t.Errorf("without the grant: %d", errno)
	}
	w.grant("dns")
	w.want("net.resolve", 0, "localhost", atResult)
	fd := w.result()
	w.only(0, sub{eventFdRead, fd, 0, 0}, sub{eventClock, 1, 20 * time.Second, 0})
	if text, errno := w.read(fd, 1000); !strings.Contains(text, "127.0.0.1\n") || errno != 0 {
		t.Errorf("localhost is %q, %d", text, errno)
	}
	if text, errno := w.read(fd, 1000); text != "" || errno != 0 {
		t.Errorf("behind the answers: %q, %d", text, errno)
	}
	w.want("net.resolve", 0, "no such name", atResult)
	if _, errno := w.read(w.result(), 100); errno != ErrnoNoEnt {
		t.Errorf("no name at all: %d", errno)
	}
}
