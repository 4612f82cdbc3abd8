package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

func TestValues(t *testing.T) {
	at := netip.MustParseAddrPort
	svc := service.Service{
		Namespace: "shop", Name: "web", Affinity: time.Minute,
		ClusterIPs:    []netip.Addr{netip.MustParseAddr("10.43.0.1"), netip.MustParseAddr("fd43::1")},
		ExternalIPs:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.43.0.1")},
		LoadBalancer:  []netip.Addr{netip.MustParseAddr("192.0.2.2")},
		SourceRanges:  []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		ExternalLocal: true,
		Ports: []service.Port{{
			Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080, Any4: true, Any6: true,
			Backends: []service.Backend{{Addr: at("10.42.1.1:8080"), Pod: "far"}, {Addr: at("[fd42::1]:8080")}},
			Open:     []service.Backend{{Addr: at("10.42.0.2:8080"), Pod: "ill", Local: true}},
		}, {Name: "dns", Protocol: "UDP", Port: 53, Backends: []service.Backend{{Addr: at("10.42.0.3:53"), Pod: "here", Local: true}}},
			{Name: "odd", Protocol: "DCCP", Port: 1}},
	}
	left := func(ip netip.Addr) bool { return ip == netip.MustParseAddr("10.42.0.3") }
	var got []string
	for _, v := range Values(&svc, left) {
		f := v.Frontend
		line := fmt.Sprintf("%s %s %d %s:", []string{"internal", "external"}[f.Scope], f.Protocol, f.Port, f.Addr)
		for _, b := range v.Backends {
			line += fmt.Sprintf(" %s %s:%d(%s)", []string{"active", "draining", "unready"}[b.State], b.Addr, b.Port, b.Name)
		}
		if v.Drop {
			line += " drop"
		}
		if v.KeepClientIP {
			line += " keep"
		}
		if v.SourceRanges != nil {
			line += fmt.Sprint(" ", v.SourceRanges)
		}
		if v.Affinity != time.Minute || !strings.HasPrefix(v.Name, "shop/web:") {
			t.Errorf("%s has affinity %v, name %q", line, v.Affinity, v.Name)
		}
		got = append(got, line)
	}
	four, ill := "active 10.42.1.1:8080(shop/far)", "unready 10.42.0.2:8080(shop/ill)"
	for i, want := range []string{
		"internal TCP 80 10.43.0.1: " + four + " " + ill,
		"internal TCP 80 fd43::1: active fd42::1:8080()",
		"internal TCP 30080 0.0.0.0: " + four + " " + ill,
		"external TCP 30080 0.0.0.0: unready 10.42.1.1:8080(shop/far) " + ill + " drop keep",
		"internal TCP 30080 ::: active fd42::1:8080()",
		"external TCP 30080 ::: unready fd42::1:8080() drop keep",
		"internal TCP 80 192.0.2.1: " + four + " " + ill,
		"external TCP 80 192.0.2.1: unready 10.42.1.1:8080(shop/far) " + ill + " drop keep",
		// 10.43.0.1 is the cluster address already for sockets of the node.
		"external TCP 80 10.43.0.1: unready 10.42.1.1:8080(shop/far) " + ill + " drop keep",
		"internal TCP 80 192.0.2.2: " + four + " " + ill + " [198.51.100.0/24]", // which sockets of the node need not mind
		"external TCP 80 192.0.2.2: unready 10.42.1.1:8080(shop/far) " + ill + " drop keep [198.51.100.0/24]",
		"internal UDP 53 10.43.0.1: unready 10.42.0.3:53(shop/here)",
		"internal UDP 53 fd43::1:",
	} {
		if i >= len(got) {
			t.Fatalf("%d values, want %q too", len(got), want)
		}
		if got[i] != want {
			t.Errorf("value %d is %q, want %q", i, got[i], want)
		}
	}
	if slices.ContainsFunc(Values(&svc, left), func(v ebpfproxy.Service) bool { return v.Frontend.Port == 1 }) {
		t.Error("a protocol that the kernel's tables do not know was handed on")
	}
}

func TestValuesOfHostPorts(t *testing.T) {
	at := netip.MustParseAddrPort
	pod := service.Service{Namespace: "shop", Name: "web", UID: "u", HostPorts: []service.HostPort{
		{Addr: at("0.0.0.0:80"), Protocol: "TCP", Pod: at("10.42.0.3:8080")},
		{Addr: at("[::]:80"), Protocol: "UDP", Pod: at("[fd42::3]:53")},
		{Addr: at("127.0.0.1:81"), Protocol: "TCP", Pod: at("10.42.0.3:8080")},
	}}
	var got []string
	for _, v := range Values(&pod, func(netip.Addr) bool { return true }) {
		if len(v.Backends) != 1 || v.Backends[0].State != ebpfproxy.Active || !v.Backends[0].Local || v.Backends[0].Name != "shop/web" || !v.KeepClientIP {
			t.Errorf("%s leads to %+v", v.Name, v.Backends)
		}
		got = append(got, fmt.Sprintf("%s %s scope %d: %s:%d", v.Name, v.Frontend, v.Frontend.Scope, v.Backends[0].Addr, v.Backends[0].Port))
	}
	want := []string{
		"shop/pod/web:80 0.0.0.0:80/TCP scope 1: 10.42.0.3:8080", "shop/pod/web:80 [::]:80/UDP scope 1: fd42::3:53",
		"shop/pod/web:81 127.0.0.1:81/TCP scope 0: 10.42.0.3:8080",
	}
	if !slices.Equal(got, want) {
		t.Errorf("values are %q, want %q", got, want)
	}
	if namespace, name, port := splitName("shop/pod/web:80"); namespace != "shop" || name != "pod/web" || port != "80" {
		t.Errorf("counters are of %q, %q, %q", namespace, name, port)
	}
}
