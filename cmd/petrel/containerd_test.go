package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/worker/containerd"
)

// TestContainerdSettles: auto uses what is there and does without what is not; whoever asks for one outright is told.
func TestContainerdSettles(t *testing.T) {
	none, daemonAlone, whole := t.TempDir(), t.TempDir(), t.TempDir()
	programIn(t, daemonAlone, "containerd", "echo containerd test.petrel.internal v2.4.2 0")
	programIn(t, whole, "containerd", "echo containerd test.petrel.internal v2.4.2 0")
	programIn(t, whole, "runc", "")
	old := t.TempDir()
	programIn(t, old, "containerd", "echo containerd test.petrel.internal v1.5.0 0")
	root := os.Geteuid() == 0
	for _, tc := range []struct {
		name, mode, path string
		clustered        bool
		containers       bool
		fails            string
	}{
		{"off", containerdOff, whole, true, false, ""},
		{"auto, nothing installed", containerdAuto, none, true, false, ""},
		{"auto, nothing that runs containers", containerdAuto, daemonAlone, true, false, ""},
		{"auto, too old", containerdAuto, old, true, false, ""},
		{"auto, loopback addresses", containerdAuto, whole, false, false, ""},
		{"auto", containerdAuto, whole, true, root, ""},
		{"own, nothing installed", containerdOwn, none, true, false, "containerd is not installed"},
		{"own, nothing that runs containers", containerdOwn, daemonAlone, true, false, "install runc"},
		{"own, too old", containerdOwn, old, true, false, "want 1.6, 1.7 or 2"},
		{"own", containerdOwn, whole, true, true, ""},
		{"system", containerdSystem, none, true, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("PATH", tc.path)
			o := containerdFlags{Mode: tc.mode, Program: "containerd", Socket: "/run/containerd/containerd.sock", Registries: "/etc/petrel/certs.d"}
			network := &networkFlags{}
			if tc.mode == containerdSystem {
				network.CNISocket = "/run/petrel/cni.sock"
			}
			if err := o.check(network, tc.clustered); err != nil {
				t.Fatal(err)
			}
			got, err := o.settle(t.Context(), &dataDir{path: t.TempDir()}, network, tc.clustered, slog.New(slog.DiscardHandler))
			if tc.fails == "" && err != nil || tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
				t.Fatalf("error = %v, want %q", err, tc.fails)
			}
			if (got != nil) != tc.containers {
				t.Fatalf("containers: %v, want %v", got, tc.containers)
			}
			if got == nil {
				return
			}
			if ours := got.daemon != nil; ours != (tc.mode != containerdSystem) || got.Endpoint == "" || got.CNI == "" {
				t.Errorf("a daemon of ours: %v; at %q, network at %q", ours, got.Endpoint, got.CNI)
			}
		})
	}
}

func TestContainerdFlagsContradict(t *testing.T) {
	for want, tc := range map[string]struct {
		mode, cni string
		clustered bool
	}{
		"want auto, own, system or off": {"none", "", true}, "containers have no addresses": {containerdOwn, "", false},
		"add --cni-socket": {containerdSystem, "", true},
	} {
		o := containerdFlags{Mode: tc.mode}
		if err := o.check(&networkFlags{CNISocket: tc.cni}, tc.clustered); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want %q", tc.mode, err, want)
		}
	}
}

// programIn writes a shell script into a directory.
func programIn(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestOwnContainerdIsNamed: --containerd-program may be a path, and one that is not there is an error of its own.
func TestOwnContainerdIsNamed(t *testing.T) {
	o := containerdFlags{Mode: containerdOwn, Program: filepath.Join(t.TempDir(), "containerd")}
	_, err := o.settle(t.Context(), &dataDir{path: t.TempDir()}, &networkFlags{}, true, slog.New(slog.DiscardHandler))
	if !errors.Is(err, containerd.ErrNotInstalled) {
		t.Errorf("error = %v", err)
	}
}
