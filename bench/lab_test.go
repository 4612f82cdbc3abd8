package main

import (
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/test/toolchain"
)

// TestBaseline runs the plain server that rows are divided by: it answers, and each listener takes memory.
func TestBaseline(t *testing.T) {
	tree, err := toolchain.Find()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{tree: tree, dir: t.TempDir()}
	b, err := l.startBaseline(t.Context(), "-more", "3", "-body", "plain")
	if err != nil {
		t.Fatal(err)
	}
	defer b.stop()
	body, err := request(t.Context(), "GET", "http://"+b.address+"/", "", nil, 200)
	if err != nil || string(body) != "plain" {
		t.Errorf("it answers %q, %v", body, err)
	}
	if _, err := request(t.Context(), "GET", "http://"+b.address+"/", "", nil, 201); err == nil || !strings.Contains(err.Error(), "200 OK") {
		t.Errorf("another status than wanted: %v", err)
	}
	itself := target{address: b.address}
	m, err := l.comparedRates(t.Context(), side{"itself", itself}, side{"again", itself}, time.Second)
	if err != nil || m.value < 0.3 || m.value > 3 {
		t.Errorf("a server compared with itself: %v, %v", m.value, err)
	}
	each, err := l.listenerMemory(t.Context())
	if err != nil || each < 1 || each > 64 {
		t.Errorf("a listener takes %v KiB, %v", each, err)
	}
	t.Logf("a listener takes %.1f KiB; itself ÷ itself %.3f", each, m.value)
}
