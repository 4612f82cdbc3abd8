package env

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLinks(t *testing.T) {
	got := Links([]Service{
		{Name: "headless", Ports: []Port{{Number: 1}}},
		{Name: "no-ports", Host: "10.43.0.9"},
		{Name: "my-db", Host: "10.43.0.1", Ports: []Port{{Name: "main-port", Protocol: "TCP", Number: 5432}, {Protocol: "UDP", Number: 53}}},
		{Name: "six", Host: "fd00::1", Ports: []Port{{Number: 80}}},
	})
	var lines []string
	for _, v := range got {
		lines = append(lines, v.Name+"="+v.Value)
	}
	want := []string{
		"MY_DB_SERVICE_HOST=10.43.0.1", "MY_DB_SERVICE_PORT=5432", "MY_DB_SERVICE_PORT_MAIN_PORT=5432", "MY_DB_PORT=tcp://10.43.0.1:5432",
		"MY_DB_PORT_5432_TCP=tcp://10.43.0.1:5432", "MY_DB_PORT_5432_TCP_PROTO=tcp", "MY_DB_PORT_5432_TCP_PORT=5432", "MY_DB_PORT_5432_TCP_ADDR=10.43.0.1",
		"MY_DB_PORT_53_UDP=udp://10.43.0.1:53", "MY_DB_PORT_53_UDP_PROTO=udp", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_ADDR=10.43.0.1",
		"SIX_SERVICE_HOST=fd00::1", "SIX_SERVICE_PORT=80", "SIX_PORT=tcp://[fd00::1]:80",
		"SIX_PORT_80_TCP=tcp://[fd00::1]:80", "SIX_PORT_80_TCP_PROTO=tcp", "SIX_PORT_80_TCP_PORT=80", "SIX_PORT_80_TCP_ADDR=fd00::1",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("variables\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestLinksAreBounded(t *testing.T) {
	var all []Service
	for i := range maxLinks + 10 {
		all = append(all, Service{Name: fmt.Sprintf("s%d", i), Host: "10.0.0.1", Ports: []Port{{Number: 80}}})
	}
	const perService = 7
	if got := len(Links(all)); got != maxLinks*perService {
		t.Errorf("%d variables of %d services", got, len(all))
	}
}
