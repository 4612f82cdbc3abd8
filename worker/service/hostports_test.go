package service

import (
	"net/netip"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

func hostPortsOf(uid string, at string) HostPorts {
	return HostPorts{Namespace: "default", Name: "name-of-" + uid, UID: types.UID(uid), Ports: []HostPort{
		{Addr: netip.MustParseAddrPort(at), Protocol: "TCP", Pod: netip.MustParseAddrPort("127.42.0.1:80")},
	}}
}

// TestHostPortsOutliveARestart: they are in the table of last time, and what the node says meanwhile comes after it.
func TestHostPortsOutliveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	l := &ledger{}
	server, s, _ := newTestState(l)
	s.begin()
	for _, uid := range []string{"kept", "changed", "dropped", "forgotten"} {
		server.SetHostPorts(hostPortsOf(uid, "0.0.0.0:8080"))
	}
	server.SetHostPorts(hostPortsOf("kept", "0.0.0.0:8080"))
	l.want(t, "set name-of-kept", "set name-of-changed", "set name-of-dropped", "set name-of-forgotten") // once each
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}

	l = &ledger{}
	server, s, c := newTestState(l)
	server.SetHostPorts(hostPortsOf("kept", "0.0.0.0:8080"))
	server.SetHostPorts(hostPortsOf("changed", "0.0.0.0:8081"))
	server.DropHostPorts("dropped")
	server.KeepHostPorts(func(uid types.UID) bool { return uid != "forgotten" })
	l.want(t) // the table of last time would undo it
	if err := s.load(path); err != nil {
		t.Fatal(err)
	}
	l.lines = nil
	s.begin()
	l.want(t, "set name-of-changed", "drop pod/dropped", "drop pod/forgotten")
	c.Services().Synced()
	c.Slices().Synced()
	server.place(samePlace)
	l.want(t) // the API knows nothing of them
	if n := len(s.table); n != 2 {
		t.Errorf("%d entries are left", n)
	}
	if got := server.In("default"); len(got) > 0 {
		t.Errorf("pods are taken for Services: %v", got)
	}
}

func TestHostPortsOfLoopbackAreForTheNodeAlone(t *testing.T) {
	for at, want := range map[string]Clients{"127.0.0.1:80": OnNode, "[::1]:80": OnNode, "0.0.0.0:80": Everybody, "192.0.2.1:80": Everybody} {
		of := hostPortsOf("p", at)
		entry := Service{Namespace: of.Namespace, Name: of.Name, UID: of.UID, HostPorts: of.Ports}
		all := entry.Frontends()
		if len(all) != 1 || all[0].Clients != want || all[0].Kind.String() != "HostPort" || all[0].Port != "80" || !all[0].Backends[0].Local {
			t.Errorf("%s: %+v", at, all)
		}
	}
}

// TestAHostPortThatIsTakenIsToldOfThePod, not of a Service.
func TestAHostPortThatIsTakenIsToldOfThePod(t *testing.T) {
	recorder := record.NewFakeRecorder(10)
	recorder.IncludeObject = true
	p := testProxy(t, recorder)
	other := tcpBackend(t, "other").Addr
	of := hostPortsOf("p", other.String())
	p.apply(Service{Namespace: of.Namespace, Name: of.Name, UID: of.UID, HostPorts: of.Ports})
	want := "Warning FailedListen Cannot listen on " + other.String() + "/TCP: listen: listen tcp " + other.String() +
		": bind: address already in use: another program of this machine has the port involvedObject{kind=Pod,apiVersion=v1}"
	if got := <-recorder.Events; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
