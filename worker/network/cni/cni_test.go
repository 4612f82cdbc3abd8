package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// TestMain is the plugin itself where a test executes it by the plugin's name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == plugin.Name {
		os.Exit(plugin.Run(os.Getenv, os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// fakeNetwork remembers what it was asked.
type fakeNetwork struct {
	mu       sync.Mutex
	attached map[string]*network.Endpoint
	cidrs    []netip.Prefix
	err      error
}

func (f *fakeNetwork) Attach(_ context.Context, a network.Attachment) (*network.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	e := &network.Endpoint{
		Attachment: a, HostName: "ptlhost", HostMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, MTU: 1450,
		Addrs: []netip.Addr{netip.MustParseAddr("10.42.1.7"), netip.MustParseAddr("fd42::7")},
	}
	f.attached[a.ContainerID+"/"+a.IfName] = e
	return e, nil
}

func (f *fakeNetwork) Check(_ context.Context, a network.Attachment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.attached[a.ContainerID+"/"+a.IfName] == nil {
		return fmt.Errorf("check container: %w", network.ErrNotAttached)
	}
	return f.err
}

func (f *fakeNetwork) Detach(_ context.Context, container, ifName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, container+"/"+ifName)
	return f.err
}

func (f *fakeNetwork) Attached() ([]*network.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*network.Endpoint
	for _, e := range f.attached {
		out = append(out, e)
	}
	return out, nil
}

func (f *fakeNetwork) PodCIDRs() []netip.Prefix { return f.cidrs }

func newFake() *fakeNetwork {
	return &fakeNetwork{attached: map[string]*network.Endpoint{}, cidrs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}}
}

// serve runs a server until the test ends, or stop is called.
func serve(t *testing.T, n Network) (socket string, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni") // a test's own directory may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	return socket, serveAt(t, n, socket)
}

func serveAt(t *testing.T, n Network, socket string) (stop func()) {
	t.Helper()
	s, err := New(Config{Socket: socket, Network: n})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server ended with %v", err)
		}
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return stop
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not listen")
		}
	}
}

// conf is a network configuration.
func conf(version, socket string, more ...string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"petrel","type":"petrel-cni","socket":%q%s}`, version, socket, strings.Join(more, ""))
}

// invoke is one call of the plugin, in this process.
func invoke(t *testing.T, config string, env ...string) (code int, answer map[string]any) {
	t.Helper()
	var out bytes.Buffer
	code = plugin.Run(environment(env), strings.NewReader(config), &out)
	if out.Len() == 0 {
		return code, nil
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatalf("the plugin printed %q: %v", out.String(), err)
	}
	return code, answer
}

func environment(env []string) func(string) string {
	return func(key string) string {
		for _, e := range env {
			if k, v, _ := strings.Cut(e, "="); k == "CNI_"+key || k == key {
				return v
			}
		}
		return ""
	}
}

func container(command string) []string {
	return []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_NETNS=/proc/1/ns/net", "CNI_IFNAME=eth0",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID=uid-1",
	}
}

func TestAddCheckDel(t *testing.T) {
	n := newFake()
	socket, _ := serve(t, n)
	for _, version := range plugin.Versions {
		code, got := invoke(t, conf(version, socket), container("ADD")...)
		if code != 0 || got["cniVersion"] != version {
			t.Fatalf("ADD of %s: %d, %v", version, code, got)
		}
		var r result
		raw, _ := json.Marshal(got)
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		wantMTU := 0
		if version == "1.1.0" {
			wantMTU = 1450
		}
		want := result{
			CNIVersion: version,
			Interfaces: []resultInterface{
				{Name: "ptlhost", MAC: "02:00:00:00:00:01", MTU: wantMTU},
				{Name: "eth0", MAC: "02:00:00:00:00:02", MTU: wantMTU, Sandbox: "/proc/1/ns/net"},
			},
			IPs: []resultIP{
				{Address: "10.42.1.7/32", Gateway: "169.254.1.1", Interface: 1}, {Address: "fd42::7/128", Gateway: "fe80::1", Interface: 1},
			},
			Routes: []resultRoute{{Dst: "0.0.0.0/0", GW: "169.254.1.1"}, {Dst: "::/0", GW: "fe80::1"}},
		}
		if fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("result %+v, want %+v", r, want)
		}
		if e := n.attached["c1/eth0"]; e == nil || e.Owner != "uid-1" {
			t.Errorf("attached %+v", e)
		}
		if code, got := invoke(t, conf(version, socket), container("CHECK")...); code != 0 || got != nil {
			t.Errorf("CHECK: %d, %v", code, got)
		}
		for range 2 { // what is not there is no error
			if code, got := invoke(t, conf(version, socket), append(container("DEL"), "CNI_NETNS=")...); code != 0 || got != nil {
				t.Errorf("DEL: %d, %v", code, got)
			}
		}
		if code, got := invoke(t, conf(version, socket), container("CHECK")...); code != 1 || got["code"] != float64(plugin.CodeContainer) {
			t.Errorf("CHECK of what is gone: %d, %v", code, got)
		}
	}
}

func TestErrors(t *testing.T) {
	n := newFake()
	socket, _ := serve(t, n)
	set := func(env []string, more ...string) []string { return append(more, env...) } // the first one counts
	for _, tc := range []struct {
		name   string
		config string
		env    []string
		err    error
		code   int
	}{
		{"no command", conf("1.0.0", socket), nil, nil, plugin.CodeEnvironment},
		{"unknown command", conf("1.0.0", socket), container("DANCE"), nil, plugin.CodeEnvironment},
		{"no container", conf("1.0.0", socket), set(container("ADD"), "CNI_CONTAINERID="), nil, plugin.CodeEnvironment},
		{"container that leads elsewhere", conf("1.0.0", socket), set(container("ADD"), "CNI_CONTAINERID=../x"), nil, plugin.CodeEnvironment},
		{"no namespace", conf("1.0.0", socket), set(container("ADD"), "CNI_NETNS="), nil, plugin.CodeEnvironment},
		{"relative namespace", conf("1.0.0", socket), set(container("ADD"), "CNI_NETNS=ns"), nil, plugin.CodeEnvironment},
		{"no interface", conf("1.0.0", socket), set(container("ADD"), "CNI_IFNAME="), nil, plugin.CodeEnvironment},
		{"odd arguments", conf("1.0.0", socket), set(container("ADD"), "CNI_ARGS=nonsense"), nil, plugin.CodeEnvironment},
		{"no configuration", "", container("ADD"), nil, plugin.CodeDecode},
		{"too large", `"` + strings.Repeat("x", plugin.MaxConfig) + `"`, container("ADD"), nil, plugin.CodeDecode},
		{"an old version", conf("0.3.1", socket), container("ADD"), nil, plugin.CodeVersion},
		{"no socket", conf("1.0.0", ""), container("ADD"), nil, plugin.CodeConfig},
		{"nobody at the socket", conf("1.0.0", socket+"x"), container("ADD"), nil, plugin.CodeTryAgain},
		{"no CIDR yet", conf("1.0.0", socket), container("ADD"), network.ErrNoPodCIDR, plugin.CodeTryAgain},
		{"no address left", conf("1.0.0", socket), container("ADD"), network.ErrExhausted, plugin.CodeFailed},
		{"the kernel says no", conf("1.0.0", socket), container("DEL"), errors.New("no"), plugin.CodeFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.err = tc.err
			code, got := invoke(t, tc.config, tc.env...)
			if code != 1 || got["code"] != float64(tc.code) || got["msg"] == "" || got["cniVersion"] == "" {
				t.Errorf("exit %d, %v; want code %d", code, got, tc.code)
			}
			n.err = nil
		})
	}
}

func TestVersion(t *testing.T) {
	for config, want := range map[string]string{`{"cniVersion":"1.0.0"}`: "1.0.0", `{"cniVersion":"1.1.0"}`: "1.1.0", `{"cniVersion":"0.1.0"}`: "1.1.0", ``: "1.1.0"} {
		code, got := invoke(t, config, "CNI_COMMAND=VERSION")
		if code != 0 || got["cniVersion"] != want || fmt.Sprint(got["supportedVersions"]) != "[1.0.0 1.1.0]" {
			t.Errorf("VERSION of %q: %d, %v", config, code, got)
		}
	}
}

func TestStatusAndGC(t *testing.T) {
	n := newFake()
	socket, _ := serve(t, n)
	for _, id := range []string{"c1", "c2", "c3"} {
		if code, got := invoke(t, conf("1.1.0", socket), append([]string{"CNI_CONTAINERID=" + id}, container("ADD")...)...); code != 0 {
			t.Fatal(got)
		}
	}
	valid := `,"cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"},{"containerID":"c3","ifname":"net1"}]`
	if code, got := invoke(t, conf("1.1.0", socket, valid), "CNI_COMMAND=GC"); code != 0 {
		t.Fatal(got)
	}
	if len(n.attached) != 1 || n.attached["c2/eth0"] == nil {
		t.Errorf("after GC %v are attached", n.attached)
	}
	if code, got := invoke(t, conf("1.1.0", socket), "CNI_COMMAND=STATUS"); code != 0 || got != nil {
		t.Errorf("STATUS: %d, %v", code, got)
	}
	n.cidrs = nil
	if code, got := invoke(t, conf("1.1.0", socket), "CNI_COMMAND=STATUS"); code != 1 || got["code"] != float64(plugin.CodeNotAvailable) {
		t.Errorf("STATUS without a pod CIDR: %d, %v", code, got)
	}
}

func TestSocketIsTakenOverFromTheDeadOnly(t *testing.T) {
	n := newFake()
	socket, stop := serve(t, n)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	second, err := New(Config{Socket: socket, Network: n})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another worker") {
		t.Errorf("a second server ended with %v", err)
	}
	stop()
	// A killed process leaves its socket behind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	serveAt(t, n, socket)
	if code, got := invoke(t, conf("1.0.0", socket), container("ADD")...); code != 0 {
		t.Errorf("after a takeover: %v", got)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	socket, _ := serve(t, newFake())
	i := Install{ConfDir: filepath.Join(dir, "net.d"), BinDir: filepath.Join(dir, "bin"), Program: "/proc/self/exe", Socket: socket}
	if exe, err := os.Executable(); err == nil {
		i.Program = exe
	}
	if err := i.Write(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(i.ConfDir, conflistName)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Write(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("what was right was written anew: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		CNIVersion string           `json:"cniVersion"`
		Name       string           `json:"name"`
		Plugins    []map[string]any `json:"plugins"`
	}
	if err := json.Unmarshal(content, &list); err != nil || len(list.Plugins) != 1 {
		t.Fatalf("%s: %v", content, err)
	}
	// The runtime hands each plugin its part, with the list's name and version, and executes it by its type's name.
	list.Plugins[0]["cniVersion"], list.Plugins[0]["name"] = list.CNIVersion, list.Name
	config, err := json.Marshal(list.Plugins[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(i.BinDir, list.Plugins[0]["type"].(string)))
	cmd.Env, cmd.Stdin = container("ADD"), bytes.NewReader(config)
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "10.42.1.7/32") {
		t.Errorf("the installed plugin printed %s, %v", out, err)
	}
	if err := errors.Join(i.Remove(), i.Remove()); err != nil {
		t.Error(err)
	}
	for _, d := range []string{i.ConfDir, i.BinDir} {
		if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", d, left, err)
		}
	}
	i.Socket = "relative"
	if err := i.Write(); err == nil {
		t.Error("a relative socket was taken")
	}
}

// FuzzArgs: whatever a runtime says of a container, its addresses have an owner.
func FuzzArgs(f *testing.F) {
	for _, args := range []string{"", "K8S_POD_UID=u", "IgnoreUnknown=1;K8S_POD_UID=", "a=b;;", "=", "a"} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		if parsed, err := parseArgs(args); err == nil && owner(parsed, "container") == "" {
			t.Errorf("no owner for %q", args)
		}
	})
}
