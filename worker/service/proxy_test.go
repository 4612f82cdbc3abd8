package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

var discard = slog.New(slog.DiscardHandler)

// patience bounds each wait.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// tcpBackend answers with its name and everything that it was sent.
func tcpBackend(t *testing.T, name string) Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprint(conn, name+" ")
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return Backend{Addr: listener.Addr().(*net.TCPAddr).AddrPort(), Pod: name}
}

var nextVIP atomic.Int32

// vip is an address that no other test uses, with a free port.
func vip(t *testing.T) netip.AddrPort {
	t.Helper()
	ip := fmt.Sprintf("127.47.0.%d", nextVIP.Add(1))
	listener, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func tcpService(name string, at netip.AddrPort, backends ...Backend) Service {
	return Service{
		Namespace: "default", Name: name, UID: types.UID(name), ClusterIPs: []netip.Addr{at.Addr()},
		Ports: []Port{{Name: "x", Protocol: "TCP", Port: at.Port(), Backends: backends}},
	}
}

func testProxy(t *testing.T, recorder record.EventRecorder) *proxy {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := newProxy(ctx, &Config{NodeAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Recorder: recorder, Logger: discard, Grace: drainTimeout}, newLeavers())
	t.Cleanup(func() { cancel(); p.close() })
	return p
}

// talk sends a message, closes its half and reads the whole answer.
func talk(at netip.AddrPort, message string) (string, error) {
	conn, err := net.DialTimeout("tcp", at.String(), patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, message); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func TestTCP(t *testing.T) {
	p := testProxy(t, nil)
	at := vip(t)
	a, b := tcpBackend(t, "a"), tcpBackend(t, "b")
	p.apply(tcpService("svc", at, a, b))
	eventually(t, "the frontend", func() bool { _, err := talk(at, ""); return err == nil })
	seen := map[string]int{}
	for range 10 {
		answer, err := talk(at, "half-closed") // the answer's end comes only if the half close was passed on
		if err != nil {
			t.Fatal(err)
		}
		name, message, _ := strings.Cut(answer, " ")
		if message != "half-closed" {
			t.Fatalf("answer = %q", answer)
		}
		seen[name]++
	}
	if seen["a"] != 5 || seen["b"] != 5 {
		t.Errorf("shares are %v", seen)
	}
}

func TestTCPGoesOnToAnotherEndpoint(t *testing.T) {
	p := testProxy(t, nil)
	at, dead := vip(t), vip(t)
	p.apply(tcpService("svc", at, Backend{Addr: dead}, tcpBackend(t, "a")))
	eventually(t, "the frontend", func() bool { _, err := talk(at, ""); return err == nil })
	for range 6 {
		if answer, err := talk(at, "x"); err != nil || answer != "a x" {
			t.Fatalf("answer = %q, %v", answer, err)
		}
	}
	p.apply(tcpService("svc", at, Backend{Addr: dead}))
	eventually(t, "a reset", func() bool {
		_, err := talk(at, "x")
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	})
}

func TestNoEndpointMeansRefused(t *testing.T) {
	p := testProxy(t, nil)
	at := vip(t)
	a := tcpBackend(t, "a")
	p.apply(tcpService("svc", at))
	if _, err := talk(at, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without endpoints: %v, want refused", err)
	}
	p.apply(tcpService("svc", at, a))
	eventually(t, "the frontend", func() bool { _, err := talk(at, ""); return err == nil })
	p.apply(tcpService("svc", at))
	eventually(t, "refusal", func() bool { _, err := talk(at, ""); return errors.Is(err, syscall.ECONNREFUSED) })
	p.apply(tcpService("svc", at, a))
	eventually(t, "the frontend again", func() bool { _, err := talk(at, ""); return err == nil })
}

func TestOpenConnectionsOutliveChanges(t *testing.T) {
	p := testProxy(t, nil)
	at := vip(t)
	p.apply(tcpService("svc", at, tcpBackend(t, "a")))
	eventually(t, "the frontend", func() bool { _, err := talk(at, ""); return err == nil })
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	echo := func(message, want string) {
		t.Helper()
		if _, err := io.WriteString(conn, message); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Fatalf("answer = %q, %v", got, err)
		}
	}
	echo("1", "a 1")
	p.apply(tcpService("svc", at)) // its endpoint is no longer ready
	eventually(t, "refusal", func() bool { _, err := talk(at, ""); return errors.Is(err, syscall.ECONNREFUSED) })
	echo("2", "2")
	p.drop(types.NamespacedName{Namespace: "default", Name: "svc"})
	echo("3", "3")
}

func TestAddressChangesItsService(t *testing.T) {
	p := testProxy(t, nil)
	at := vip(t)
	p.apply(tcpService("old", at, tcpBackend(t, "old")))
	eventually(t, "the old one", func() bool { answer, _ := talk(at, ""); return answer == "old " })
	p.apply(tcpService("new", at, tcpBackend(t, "new")))
	p.drop(types.NamespacedName{Namespace: "default", Name: "old"}) // told late
	eventually(t, "the new one", func() bool { answer, _ := talk(at, ""); return answer == "new " })
}

func TestNodePort(t *testing.T) {
	p := testProxy(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	recorder := record.NewFakeRecorder(10)
	p.recorder = recorder
	svc := tcpService("svc", vip(t), tcpBackend(t, "a"))
	svc.Ports[0].NodePort = at.Port()
	p.apply(svc)
	select {
	case event := <-recorder.Events:
		if !strings.Contains(event, "FailedListen") || !strings.Contains(event, "another program of this machine has the port") {
			t.Errorf("event = %q", event)
		}
	case <-time.After(patience):
		t.Fatal("no event tells that the port is taken")
	}
	listener.Close() // listening is tried again
	eventually(t, "the node port", func() bool { answer, _ := talk(at, "x"); return answer == "a x" })
}

func TestExplain(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EACCES: "CAP_NET_BIND_SERVICE", syscall.EADDRINUSE: "another program", syscall.EADDRNOTAVAIL: "not one of this machine's", io.EOF: "EOF",
	} {
		if got := explain(fmt.Errorf("listen: %w", err)); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v is explained as %v", err, got)
		}
	}
}

func TestUDP(t *testing.T) {
	p := testProxy(t, nil)
	backend, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			n, from, err := backend.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = backend.WriteTo([]byte(fmt.Sprintf("%s from %s", buffer[:n], from)), from)
		}
	}()
	at := vip(t)
	svc := tcpService("dns", at, Backend{Addr: backend.LocalAddr().(*net.UDPAddr).AddrPort()})
	svc.Ports[0].Protocol = string(corev1.ProtocolUDP)
	p.apply(svc)
	sources := map[string]bool{}
	for i := range 2 {
		conn, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer := make([]byte, 100)
		eventually(t, "an answer", func() bool {
			fmt.Fprintf(conn, "ping %d", i)
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, err := conn.Read(answer)
			if err != nil || !strings.HasPrefix(string(answer[:n]), fmt.Sprintf("ping %d from ", i)) {
				return false
			}
			sources[string(answer[:n])] = true
			return true
		})
	}
	if len(sources) != 2 {
		t.Errorf("two clients came from %v", sources)
	}
}

func TestExternalAddressesAndPolicies(t *testing.T) {
	p := testProxy(t, nil)
	p.inside = nil
	own, far := tcpBackend(t, "own"), tcpBackend(t, "far")
	own.Local = true
	cluster, external := vip(t), vip(t)
	svc := tcpService("svc", cluster, own, far)
	svc.ExternalIPs = []netip.Addr{external.Addr()}
	svc.Ports[0].Port = external.Port()
	svc.ExternalLocal = true
	svc.Ports[0].Local = []Backend{own}
	at := netip.AddrPortFrom(external.Addr(), external.Port())
	p.apply(svc)
	eventually(t, "the external address", func() bool { _, err := talk(at, ""); return err == nil })
	seen := map[string]bool{}
	for range 4 {
		answer, _ := talk(at, "")
		seen[answer] = true
	}
	if len(seen) != 2 {
		t.Errorf("a client on the node reached %v, want both endpoints", seen)
	}
	f := p.frontends[place{"TCP", at}]
	outside := netip.MustParseAddr("198.51.100.1")
	for range 4 {
		if b, ok := f.choose(outside, at.Addr(), nil); !ok || b != own {
			t.Errorf("a client from outside got %v, %v", b, ok)
		}
	}
	p.inside = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} // it is a pod of ours
	got := map[Backend]bool{}
	for range 4 {
		b, _ := f.choose(outside, at.Addr(), nil)
		got[b] = true
	}
	if len(got) != 2 {
		t.Errorf("a pod got %v, want both endpoints", got)
	}
}

func TestSourceRanges(t *testing.T) {
	p := testProxy(t, nil)
	at := vip(t)
	svc := tcpService("svc", vip(t), tcpBackend(t, "a"))
	svc.Ports[0].Port, svc.LoadBalancer = at.Port(), []netip.Addr{at.Addr()}
	svc.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	p.apply(svc)
	eventually(t, "a reset", func() bool {
		_, err := talk(at, "x")
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	})
	svc.SourceRanges = append(svc.SourceRanges, netip.MustParsePrefix("127.0.0.0/8"))
	p.apply(svc)
	eventually(t, "an answer", func() bool { answer, _ := talk(at, "x"); return answer == "a x" })
}

func TestAddressesOfRoutersAreLeftToThem(t *testing.T) {
	recorder := record.NewFakeRecorder(10)
	p := testProxy(t, recorder)
	at := vip(t)
	svc := tcpService("svc", at, tcpBackend(t, "a"))
	svc.LoadBalancer = []netip.Addr{netip.MustParseAddr("203.0.113.1")} // no address of this machine
	p.apply(svc)
	eventually(t, "the cluster address", func() bool { answer, _ := talk(at, "x"); return answer == "a x" })
	svc.ClusterIPs = []netip.Addr{netip.MustParseAddr("203.0.113.2")}
	p.apply(svc)
	select {
	case event := <-recorder.Events:
		if !strings.Contains(event, "203.0.113.2") {
			t.Errorf("event = %q", event)
		}
	case <-time.After(patience):
		t.Error("no event tells that the cluster address cannot be had")
	}
}

func TestFlowsLeaveAnEndpointThatHasGone(t *testing.T) {
	p := testProxy(t, nil)
	at, a, b := vip(t), udpBackend(t, "a"), udpBackend(t, "b")
	svc := tcpService("dns", at, a)
	svc.Ports[0].Protocol = string(corev1.ProtocolUDP)
	p.apply(svc)
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answered := func(want string) func() bool {
		return func() bool {
			fmt.Fprint(conn, "x")
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			answer := make([]byte, 100)
			n, _ := conn.Read(answer)
			return string(answer[:n]) == want
		}
	}
	eventually(t, "a", answered("a x"))
	svc.Ports[0].Backends, svc.Ports[0].Open = []Backend{b}, []Backend{a}
	p.apply(svc)
	for range 5 { // what is open with an endpoint that takes nothing new goes on
		eventually(t, "a again", answered("a x"))
	}
	svc.Ports[0].Open = nil
	p.apply(svc)
	eventually(t, "b", answered("b x"))
}

// udpBackend answers with its name and what it was sent.
func udpBackend(t *testing.T, name string) Backend {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo([]byte(name+" "+string(buffer[:n])), from)
		}
	}()
	return Backend{Addr: socket.LocalAddr().(*net.UDPAddr).AddrPort(), Pod: name}
}
