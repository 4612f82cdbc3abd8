package ebpfproxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (a *arena) openFlows(cfg FlowsConfig) *Flows {
	a.t.Helper()
	f, err := NewFlows(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	return f
}

// flowCollector gathers what one listener hears, from the moment that it is made.
type flowCollector struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	heard []Flow
}

func collectFlows(t *testing.T, f *Flows) *flowCollector {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &flowCollector{t: t, cancel: cancel, done: make(chan struct{})}
	f.mu.Lock()
	before := len(f.listeners)
	f.mu.Unlock()
	go func() {
		defer close(c.done)
		for flow := range f.Flows(ctx) {
			c.mu.Lock()
			c.heard = append(c.heard, flow)
			c.mu.Unlock()
		}
	}()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		there := len(f.listeners) > before
		f.mu.Unlock()
		if there {
			break
		}
	}
	t.Cleanup(c.end)
	return c
}

func (c *flowCollector) end() {
	c.cancel()
	<-c.done
}

// wait answers what was heard, when it is n events.
func (c *flowCollector) wait(n int) []Flow {
	c.t.Helper()
	var heard []Flow
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		heard = append([]Flow{}, c.heard...)
		c.mu.Unlock()
		if len(heard) >= n {
			return heard
		}
	}
	c.t.Fatalf("heard %d events, want %d: %+v", len(heard), n, heard)
	return nil
}

func TestFlows(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	b := a.serve(policyB + policyAt)
	mustSync(t, p, clusterIP("127.43.0.1:80", TCP, b.backend()), clusterIP("127.43.0.1:80", UDP, b.backend()),
		clusterIP("127.43.0.2:80", TCP), clusterIP("127.43.0.2:80", UDP))
	mustPolicy(t, e, isolateA())
	f := a.openFlows(FlowsConfig{Enforcer: e, PodName: func(addr netip.Addr) string {
		return map[string]string{policyA: "ns/a", policyB: "ns/b"}[addr.String()]
	}})
	if err := a.policyAsk(policyA, "127.43.0.1:80"); err != nil { // nobody listens yet
		t.Fatal(err)
	}
	began := time.Now()
	first, second := collectFlows(t, f), collectFlows(t, f)
	if err := a.policyAsk(policyA, "127.43.0.1:80"); err != nil {
		t.Fatal(err)
	}
	_ = a.policyAsk(policyA, "127.42.0.3:8080") // refused at connect()
	s := a.socket(unix.SOCK_DGRAM, false)
	defer s.close()
	s.bind(policyA)
	for range 3 {
		if err := s.send(b.addr); err != nil {
			t.Fatal(err)
		}
		s.receive()
	}
	if err := s.send(netip.MustParseAddrPort("127.42.0.3:8080")); err == nil {
		t.Error("a datagram that is not allowed was sent")
	}
	if err := s.send(netip.MustParseAddrPort("127.43.0.1:80")); err != nil {
		t.Fatal(err)
	}
	s.receive()
	toService := a.socket(unix.SOCK_DGRAM, false)
	defer toService.close()
	toService.bind(policyA)
	if err := toService.send(netip.MustParseAddrPort("127.43.0.1:80")); err != nil {
		t.Fatal(err)
	}
	toService.receive()
	if err := a.policyAsk(policyB, policyB+policyAt); err != nil { // as the node speaks to a pod whose address it has
		t.Fatal(err)
	}
	_ = a.policyAsk(policyA, "127.43.0.2:80")
	_ = toService.send(netip.MustParseAddrPort("127.43.0.2:80"))
	const events = 12
	heard := first.wait(events)
	if again := second.wait(events); len(again) != events || len(heard) != events {
		t.Errorf("heard %d and %d events", len(heard), len(again))
	}
	for i, want := range []string{
		"connect egress TCP 127.42.0.2:8080 ns/a→ns/b ns/svc:127.43.0.1:80 127.43.0.1:80",
		"accept ingress TCP 127.42.0.2:8080 ns/a→ns/b  invalid AddrPort",
		"denied egress TCP 127.42.0.3:8080 ns/a→  invalid AddrPort",
		"connect egress UDP 127.42.0.2:8080 ns/a→ns/b  invalid AddrPort",
		"accept ingress UDP 127.42.0.2:8080 ns/a→ns/b  invalid AddrPort",
		"denied egress UDP 127.42.0.3:8080 ns/a→  invalid AddrPort",
		"connect egress UDP 127.42.0.2:8080 ns/a→ns/b ns/svc:127.43.0.1:80 127.43.0.1:80",
		"accept ingress UDP 127.42.0.2:8080 ns/a→ns/b  invalid AddrPort",
		"connect egress TCP 127.42.0.2:8080 ns/b→ns/b  invalid AddrPort",
		"accept ingress TCP 127.42.0.2:8080 ns/b→ns/b  invalid AddrPort",
		"refused egress TCP 127.43.0.2:80 ns/a→ ns/svc:127.43.0.2:80 127.43.0.2:80",
		"refused egress UDP 127.43.0.2:80 ns/a→ ns/svc:127.43.0.2:80 127.43.0.2:80",
	} {
		got := heard[i]
		line := strings.Join([]string{string(got.Kind), string(got.Direction), got.Protocol.String(), got.Destination.String(),
			got.SourcePod + "→" + got.DestinationPod, got.Service, got.ServiceAddr.String()}, " ")
		if line != want {
			t.Errorf("event %d is\n%s, want\n%s", i, line, want)
		}
		if from := got.Source.Addr().String(); from != policyA && got.SourcePod != "ns/b" || got.Lost != 0 || got.Time.Before(began) || time.Since(got.Time) > time.Minute || time.Since(got.Time) < 0 {
			t.Errorf("event %d: %+v", i, got)
		}
	}
	encoded, err := json.Marshal(heard[2])
	if err != nil || strings.Contains(string(encoded), "service") || !strings.Contains(string(encoded), `"kind":"denied"`) {
		t.Errorf("as JSON: %s, %v", encoded, err)
	}
}

// TestFlowsEnd: the kernel records only while somebody listens, and what nobody heard is not told later.
func TestFlowsEnd(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	a.serve(policyB + policyAt)
	f := a.openFlows(FlowsConfig{Enforcer: e})
	for i := range 3 {
		c := collectFlows(t, f)
		if err := a.policyAsk(policyA, policyB+policyAt); err != nil {
			t.Fatal(err)
		}
		if n := len(c.wait(2)); n != 2 {
			t.Errorf("round %d: heard %d events", i, n)
		}
		c.end()
		if f.reading != nil || len(f.listeners) != 0 || e.attached {
			t.Error("still reading")
		}
		if err := a.policyAsk(policyA, policyB+policyAt); err != nil {
			t.Fatal(err)
		}
	}
	for flow := range f.Flows(canceled()) {
		t.Errorf("heard %+v after the end", flow)
	}
	c := collectFlows(t, f)
	_ = a.policyAsk(policyA, policyB+policyAt)
	for range c.wait(1) {
		break // a listener may leave on its own account too
	}
}

// TestFlowsAfterAKill: what a killed process left attached for its listener is found and ended.
func TestFlowsAfterAKill(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	first := a.openRaw(Config{PinDir: dir})
	e := a.openEnforcer(first, testPolicySizes)
	f := a.openFlows(FlowsConfig{Enforcer: e})
	q, _, err := f.join()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Close(), first.Close()); err != nil { // the kernel's part of being killed
		t.Fatal(err)
	}
	second := a.open(Config{PinDir: dir})
	pinned := second.pins.path(linksDir, policyHooks[0].link)
	if _, err := os.Stat(pinned); err != nil {
		t.Fatalf("nothing was left to find: %v", err)
	}
	e = a.openEnforcer(second, testPolicySizes)
	if _, err := os.Stat(pinned); !errors.Is(err, os.ErrNotExist) || e.attached {
		t.Errorf("still attached: %v", err)
	}
	f.leave(q)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestFlowsLost: whoever listens too slowly is told how much he missed, and delays nobody.
func TestFlowsLost(t *testing.T) {
	const connections, queue = 20, 4
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	a.serve(policyB + policyAt)
	f := a.openFlows(FlowsConfig{Enforcer: e, Queue: queue})
	quick := collectFlows(t, f)
	q, _, err := f.join()
	if err != nil {
		t.Fatal(err)
	}
	defer f.leave(q)
	for i := range connections {
		if err := a.policyAsk(policyA, policyB+policyAt); err != nil {
			t.Fatal(err)
		}
		quick.wait(2 * (i + 1))
	}
	var lost uint64
	for range queue {
		flow := <-q.events
		lost += flow.Lost
	}
	if err := a.policyAsk(policyA, policyB+policyAt); err != nil {
		t.Fatal(err)
	}
	flow := <-q.events
	if lost != 0 || flow.Lost != 2*connections-queue {
		t.Errorf("told of %d lost, then of %d; want 0 and %d", lost, flow.Lost, 2*connections-queue)
	}
}

// TestFlowsRingFull: what the kernel has no room for is counted.
func TestFlowsRingFull(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	f := a.openFlows(FlowsConfig{Enforcer: e, Queue: maxFlowQueue})
	var first sync.Mutex // held while the reader is to be busy
	f.cfg.PodName = func(netip.Addr) string {
		first.Lock()
		defer first.Unlock()
		return ""
	}
	c := collectFlows(t, f)
	first.Lock()
	room := int(e.collection.Maps[mapFlows].MaxEntries()) / (flowSize + 8)
	packet := policyPacket{from: stranger, to: podFree, protocol: unix.IPPROTO_TCP, toPort: 80}
	for range room + 100 {
		runPolicy(t, e, "petrel_ingress", packet)
	}
	first.Unlock()
	c.wait(room)
	runPolicy(t, e, "petrel_ingress", packet)
	got, lost := 0, 0
	for n := room; got+lost < room+101; n++ { // the last one tells of those before it
		heard := c.wait(n)
		got, lost = len(heard), 0
		for _, flow := range heard {
			lost += int(flow.Lost)
		}
	}
	if got+lost != room+101 || lost == 0 {
		t.Errorf("%d heard and %d lost, want %d together", got, lost, room+101)
	}
}

func TestFlowsSampled(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	mustPolicy(t, e, programPolicy())
	f := a.openFlows(FlowsConfig{Enforcer: e, Sample: 100})
	c := collectFlows(t, f)
	passes := policyPacket{from: friend, to: podIn, protocol: unix.IPPROTO_TCP, toPort: 80}
	denied := policyPacket{from: stranger, to: podIn, protocol: unix.IPPROTO_TCP, toPort: 80}
	const rounds = 1000
	for range rounds {
		runPolicy(t, e, "petrel_ingress", passes)
		runPolicy(t, e, "petrel_ingress", denied)
	}
	count := map[FlowKind]int{}
	for _, flow := range c.wait(rounds) {
		count[flow.Kind]++
	}
	if count[FlowDenied] < rounds-100 || count[FlowAccept] > 100 {
		t.Errorf("heard %v", count)
	}
}

func TestFlowConfigs(t *testing.T) {
	e := &Enforcer{}
	for _, cfg := range []FlowsConfig{{}, {Enforcer: e, Sample: -1}, {Enforcer: e, Queue: -1}, {Enforcer: e, Queue: maxFlowQueue + 1}} {
		if _, err := NewFlows(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func FuzzFlowRecord(f *testing.F) {
	f.Add(make([]byte, flowSize))
	f.Add([]byte{})
	good := make([]byte, flowSize)
	good[flowKindAt], good[flowDirectionAt], good[flowProtocolAt] = 1, 2, 6
	good[flowPortsAt+5] = 80
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		record, err := decodeFlow(raw)
		if err != nil {
			return
		}
		if record.Kind == "" || record.Direction == "" || !record.Source.IsValid() || !record.Destination.IsValid() {
			t.Errorf("%x became %+v", raw, record)
		}
		if _, err := json.Marshal(record.Flow); err != nil {
			t.Error(err)
		}
	})
}
