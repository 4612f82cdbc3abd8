package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/controlplane/pki"
)

func TestWhenTLSIsSpoken(t *testing.T) {
	for _, tt := range []struct {
		listen string
		flags  tlsFlags
		want   bool
		wrong  string
	}{
		{listen: "127.0.0.1:8080"}, {listen: "[::1]:8080"}, {listen: "localhost:0"},
		{listen: "127.0.0.1:8080", flags: tlsFlags{Always: true}, want: true},
		{listen: "0.0.0.0:6443", want: true}, {listen: "[::]:6443", want: true}, {listen: ":6443", want: true},
		{listen: "10.0.0.1:6443", want: true}, {listen: "cp.example.com:6443", want: true},
		{listen: "127.0.0.1:8080", flags: tlsFlags{SANs: []string{"x"}}, wrong: "add --tls"},
		{listen: "127.0.0.1:8080", flags: tlsFlags{TokenFile: "x"}, wrong: "add --tls"},
		{listen: "6443", wrong: "--listen"},
	} {
		got, err := tt.flags.wanted(tt.listen)
		if got != tt.want || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s %+v: %v %v", tt.listen, tt.flags, got, err)
		}
	}
}

func TestAPINames(t *testing.T) {
	cfg := controlPlaneConfig{
		Listen: "10.1.2.3:6443", Addresses: clusterAddresses{Advertise: netip.MustParseAddr("192.0.2.1")},
		TLS: &tlsFlags{SANs: []string{"cp.example.com", "192.0.2.9", "10.1.2.3"}},
	}
	names, addresses, err := apiNames(cfg, netip.MustParseAddr("10.43.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kubernetes.default.svc", "localhost", "cp.example.com"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %v", want, names)
		}
	}
	want := "10.1.2.3 10.43.0.1 127.0.0.1 192.0.2.1 192.0.2.9 ::1"
	var got []string
	for _, a := range addresses {
		got = append(got, a.String())
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if got, err := advertised("10.1.2.3:6443"); err != nil || got.String() != "10.1.2.3" {
		t.Error(got, err)
	}
	if got, err := advertised("localhost:6443"); err != nil || !got.IsLoopback() {
		t.Error(got, err)
	}
}

func TestSecurityIsKept(t *testing.T) {
	dir := t.TempDir()
	cfg := controlPlaneConfig{
		DataDir: dir, Listen: "127.0.0.1:6443", Addresses: clusterAddresses{Advertise: netip.MustParseAddr("127.0.0.1")},
		TLS: &tlsFlags{SigningLife: join.DefaultLife}, Logger: slog.New(slog.DiscardHandler),
	}
	open := func() *security {
		s, err := openSecurity(context.Background(), cfg, netip.MustParseAddr("127.43.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := open()
	if open().cluster.Hash() != first.cluster.Hash() || first.cluster.Hash() == first.nodes.Hash() {
		t.Fatal("authorities are not kept, or are one")
	}
	path := filepath.Join(dir, kubeconfigFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil || config.Host != "https://127.0.0.1:6443" {
		t.Fatal(config, err)
	}
	cert, err := pki.ParseCertificate(config.CertData)
	if err != nil || time.Until(cert.NotAfter) < 300*24*time.Hour {
		t.Fatal(cert, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := first.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(entries) > 0 {
		t.Fatal("left behind:", entries, err)
	}
	cfg.TLS.TokenFile = filepath.Join(dir, "none")
	if _, err := openSecurity(context.Background(), cfg, netip.MustParseAddr("127.43.0.1")); err == nil {
		t.Fatal("a token file that is not there")
	}
}
