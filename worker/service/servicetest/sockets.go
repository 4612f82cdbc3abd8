package servicetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// endpoint is a server that says its name before it echoes.
type endpoint struct {
	name     string
	port     string // the name of the Service's port that it serves; "" for the usual one
	protocol corev1.Protocol
	addr     netip.AddrPort
	close    func() // stops taking what is new; what is open goes on
	taken    atomic.Int64
}

// named are endpoints on the node's address, by protocol.
func named(t *testing.T, w *world, protocol corev1.Protocol, names ...string) []member {
	t.Helper()
	return namedAt(t, w.host.Node, protocol, names...)
}

func namedAt(t *testing.T, ip netip.Addr, protocol corev1.Protocol, names ...string) []member {
	t.Helper()
	var out []member
	for _, name := range names {
		e := &endpoint{name: name, protocol: protocol}
		if protocol == corev1.ProtocolUDP {
			e.serveUDP(t, ip)
		} else {
			e.serveTCP(t, ip)
		}
		out = append(out, member{endpoint: e})
	}
	return out
}

func (e *endpoint) serveTCP(t *testing.T, ip netip.Addr) {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	e.addr = listener.Addr().(*net.TCPAddr).AddrPort()
	e.close = func() { listener.Close() }
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	t.Cleanup(func() { listener.Close(); cancel(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			e.taken.Add(1)
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			serving.Go(func() {
				defer stop()
				defer conn.Close()
				if _, err := fmt.Fprint(conn, e.name+" "); err == nil {
					_, _ = io.Copy(conn, conn)
				}
			})
		}
	})
}

func (e *endpoint) serveUDP(t *testing.T, ip netip.Addr) {
	t.Helper()
	socket, err := net.ListenPacket("udp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	e.addr = socket.LocalAddr().(*net.UDPAddr).AddrPort()
	e.close = func() { socket.Close() }
	var serving sync.WaitGroup
	t.Cleanup(func() { socket.Close(); serving.Wait() })
	serving.Go(func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			e.taken.Add(1)
			_, _ = socket.WriteTo([]byte(e.name+" "+string(buffer[:n])), from)
		}
	})
}

// ask sends a message over a new connection and answers who echoed it.
func ask(at netip.AddrPort) (string, error) { return askFrom(netip.Addr{}, at, moment) }

// askFrom may bind the client's socket to an address.
func askFrom(from netip.Addr, at netip.AddrPort, timeout time.Duration) (string, error) {
	dialer := net.Dialer{Timeout: timeout}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := dialer.Dial("tcp", at.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return converse(conn, "hello")
}

// converse sends a message, ends its half, and answers who echoed it.
func converse(conn net.Conn, message string) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, message); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	name, echo, _ := strings.Cut(string(answer), " ")
	if echo != message {
		return "", fmt.Errorf("answered %q", answer)
	}
	return name, nil
}

// askUDP sends a datagram from a new socket, connected or not, and answers who echoed it.
func askUDP(at netip.AddrPort, connected bool) (string, error) {
	if connected {
		conn, err := net.Dial("udp", at.String())
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return exchange(conn)
	}
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	socket, err := net.ListenPacket(network, ":0")
	if err != nil {
		return "", err
	}
	defer socket.Close()
	if _, err := socket.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(at)); err != nil {
		return "", err
	}
	_ = socket.SetReadDeadline(time.Now().Add(moment))
	buffer := make([]byte, 1500)
	n, from, err := socket.ReadFrom(buffer)
	if err != nil {
		return "", err
	}
	if source := from.(*net.UDPAddr).AddrPort(); netip.AddrPortFrom(source.Addr().Unmap(), source.Port()) != at {
		return "", fmt.Errorf("the answer came from %v, not %v", source, at)
	}
	return strings.TrimSuffix(string(buffer[:n]), " hello"), nil
}

// exchange sends a datagram over a connected socket and answers who echoed it.
func exchange(conn net.Conn) (string, error) {
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(moment))
	buffer := make([]byte, 1500)
	n, err := conn.Read(buffer)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(buffer[:n]), " hello"), nil
}

// eventually waits for ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(interval) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// answered waits until somebody of those answers at the address, and nobody else does from then on.
func answered(t *testing.T, at netip.AddrPort, by ...string) {
	t.Helper()
	answeredBy(t, func() (string, error) { return ask(at) }, by...)
}

// looks is how often each possible answerer is to be seen, at the least, for a share to count as one.
const looks = 24

func answeredBy(t *testing.T, ask func() (string, error), by ...string) {
	t.Helper()
	want := map[string]bool{}
	for _, name := range by {
		want[name] = true
	}
	eventually(t, fmt.Sprint("answers of ", by), func() bool {
		seen := map[string]bool{}
		for range looks * len(by) {
			name, err := ask()
			if err != nil || !want[name] {
				return false
			}
			seen[name] = true
		}
		return len(seen) == len(want)
	})
}

// refused waits until clients are refused, and at once.
func refused(t *testing.T, at netip.AddrPort) {
	t.Helper()
	eventually(t, "refusal at "+at.String(), func() bool {
		began := time.Now()
		_, err := ask(at)
		return errors.Is(err, syscall.ECONNREFUSED) && time.Since(began) < moment
	})
}
