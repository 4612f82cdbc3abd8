package policy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}

// noted is an Enforcer that keeps what it was given.
type noted struct {
	mu    sync.Mutex
	got   []ebpfproxy.Policy
	fails int // so often
}

func (n *noted) Sync(_ context.Context, p ebpfproxy.Policy) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails > 0 {
		n.fails--
		return errors.New("full")
	}
	n.got = append(n.got, p)
	return nil
}

func (n *noted) last() (ebpfproxy.Policy, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.got) == 0 {
		return ebpfproxy.Policy{}, 0
	}
	return n.got[len(n.got)-1], len(n.got)
}

func (n *noted) wait(t *testing.T, what string, ok func(ebpfproxy.Policy) bool) {
	t.Helper()
	var p ebpfproxy.Policy
	var times int
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if p, times = n.last(); times > 0 && ok(p) {
			return
		}
	}
	t.Fatalf("%s: enforced %d times, last %+v", what, times, p)
}

func isolated(addr string) func(ebpfproxy.Policy) bool {
	return func(p ebpfproxy.Policy) bool { return p.Endpoints[netip.MustParseAddr(addr)].Ingress != 0 }
}

func not(f func(ebpfproxy.Policy) bool) func(ebpfproxy.Policy) bool {
	return func(p ebpfproxy.Policy) bool { return !f(p) }
}

func runAgent(t *testing.T, client *fake.Clientset, enforcer Enforcer) *Agent {
	t.Helper()
	return runConfigured(t, Config{Compiler: loopbackConfig(), Client: client, Enforcer: enforcer})
}

func runConfigured(t *testing.T, cfg Config) *Agent {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	return a
}

func TestAgentFollowsTheAPI(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset(namespace("x", "ns=x"), newTestPod("x/a", "pod=a", here, "127.42.1.1"), newPolicy("x/p", "pod=a", denyAll(in))))
	n := &noted{fails: 2}
	a := runAgent(t, client, n)
	n.wait(t, "at first", isolated("127.42.1.1"))
	if got := a.PodName(netip.MustParseAddr("127.42.1.1")); got != "x/a" || a.PodName(netip.MustParseAddr("127.42.1.9")) != "" {
		t.Errorf("the pod is %q", got)
	}
	ctx, policies := t.Context(), client.NetworkingV1().NetworkPolicies("x")
	if _, err := policies.Update(ctx, newPolicy("x/p", "pod=b", denyAll(in)), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "policy for another", not(isolated("127.42.1.1")))
	if _, err := client.CoreV1().Pods("x").Update(ctx, newTestPod("x/a", "pod=b", here, "127.42.1.1"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "other labels", isolated("127.42.1.1"))
	bad := newPolicy("x/p", "pod=b", ingress(nil, ports("ICMP")))
	if _, err := policies.Update(ctx, bad, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("x").Create(ctx, newTestPod("x/c", "pod=b", here, "127.42.1.3"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "a policy that cannot be read", isolated("127.42.1.3"))
	if err := policies.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "no policy", not(isolated("127.42.1.3")))
}

// TestAgentWaitsForEverything: while any kind of object is not known, what was enforced before stays.
func TestAgentWaitsForEverything(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset(newTestPod("x/a", "", here, "127.42.1.1"), newPolicy("x/p", "", denyAll(in))))
	var mu sync.Mutex
	away := true
	client.PrependReactor("list", "networkpolicies", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return away, nil, errors.New("connection refused")
	})
	n := &noted{}
	runAgent(t, client, n)
	time.Sleep(200 * time.Millisecond)
	if p, times := n.last(); times != 0 {
		t.Errorf("enforced %+v without knowing the policies", p)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	n.wait(t, "when the API is back", isolated("127.42.1.1"))
}

func TestAgentAssign(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset(newPolicy("x/p", "pod=a", denyAll(in))))
	n := &noted{}
	a := runAgent(t, client, n)
	addr := netip.MustParseAddr("127.42.1.1")
	if err := a.Assign(t.Context(), newTestPod("x/a", "pod=a", here), []netip.Addr{addr}); err != nil {
		t.Fatal(err)
	}
	if p, _ := n.last(); !isolated("127.42.1.1")(p) {
		t.Errorf("the pod may start, but enforced is %+v", p)
	}
	a.Release(types.NamespacedName{Namespace: "x", Name: "a"})
	n.wait(t, "released", not(isolated("127.42.1.1")))

	n.mu.Lock()
	n.fails = 1 << 20
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Assign(ctx, newTestPod("x/b", "pod=a", here), []netip.Addr{addr}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a policy that is not enforced: %v", err)
	}
}

// TestAgentAssignAtOnce: a pod that no policy selects waits for nobody.
func TestAgentAssignAtOnce(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset(newPolicy("x/p", "pod=a", denyAll(in))))
	n := &noted{}
	a := runAgent(t, client, n)
	n.wait(t, "at first", func(ebpfproxy.Policy) bool { return true })
	n.mu.Lock()
	n.fails = 1 << 20
	n.mu.Unlock()
	for name, labels := range map[string]string{"x/b": "pod=b", "y/a": "pod=a"} {
		if err := a.Assign(t.Context(), newTestPod(name, labels, here), []netip.Addr{netip.MustParseAddr("127.42.1.1")}); err != nil {
			t.Error(err)
		}
	}
}

// TestAgentIdle: without policies there is nothing to do when pods come and go.
func TestAgentIdle(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset())
	n := &noted{}
	a := runAgent(t, client, n)
	n.wait(t, "at first", func(ebpfproxy.Policy) bool { return true })
	for i := range 5 {
		pod := newTestPod("x/p"+string(rune('a'+i)), "", here, "127.42.1."+string(rune('1'+i)))
		if _, err := client.CoreV1().Pods("x").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * gatherTime)
	}
	if _, times := n.last(); times != 1 {
		t.Errorf("enforced %d times", times)
	}
	for deadline := time.Now().Add(60 * time.Second); a.PodName(netip.MustParseAddr("127.42.1.5")) != "x/pe"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the newest pod has no name")
		}
	}
	if _, err := client.NetworkingV1().NetworkPolicies("x").Create(t.Context(), newPolicy("x/p", "", denyAll(in)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "a policy", isolated("127.42.1.5"))
}

// TestAgentStartsWithoutTheAPI: what it kept says which pods have to wait.
func TestAgentStartsWithoutTheAPI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	client := feedtest.CopyWatches(fake.NewClientset(newPolicy("x/p", "", denyAll(in))))
	n := &noted{}
	runKept := func(client *fake.Clientset, n *noted) *Agent {
		return runConfigured(t, Config{Compiler: loopbackConfig(), Client: client, Enforcer: n, StateFile: file})
	}
	runKept(client, n)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		if state, err := readState(file); err == nil && len(state.Namespaces) == 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("kept %v, %v", state, err)
		}
	}
	away := fake.NewClientset()
	away.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	later := &noted{}
	a := runKept(away, later)
	assign := func(name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return a.Assign(ctx, newTestPod(name, "", here), []netip.Addr{netip.MustParseAddr("127.42.1.1")})
	}
	if err := assign("y/a"); err != nil {
		t.Errorf("a namespace without policies: %v", err)
	}
	if err := assign("x/a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a namespace with policies: %v", err)
	}
	if _, times := later.last(); times != 0 {
		t.Error("something was enforced without knowing what")
	}
}

func TestStateFilesThatAreOfNoUse(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "another kind": `{"a":1}`, "broken": `{"namespacesWithPolicies":[`, "large": strings.Repeat(" ", maxStateFile+1)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readState(path); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	a := &Agent{cfg: Config{StateFile: filepath.Join(dir, "nowhere", "file")}, compiler: compilerOf(t, loopbackConfig(), &world{})}
	if a.restore(); a.restored != nil {
		t.Error("something was read from nowhere")
	}
	if a.keep() == nil {
		t.Error("something was kept nowhere")
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"namespacesWithPolicies":["x","y"]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if state, err := decodeState(raw); err == nil && state.Namespaces == nil {
			t.Error("no namespaces and no error")
		}
	})
}

// counted is an Enforcer that counts.
type counted struct{ noted }

func (c *counted) Stats() (ebpfproxy.PolicyStats, error) {
	return ebpfproxy.PolicyStats{Ingress: ebpfproxy.VerdictCounts{Denied: 7}, Egress: ebpfproxy.VerdictCounts{Forged: 2}}, nil
}

func TestAgentMetrics(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset(newTestPod("x/a", "", here, "127.42.1.1"), newPolicy("x/p", "", denyAll(in))))
	c := &counted{noted{fails: 1}}
	a := runAgent(t, client, c)
	c.wait(t, "at first", isolated("127.42.1.1"))
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(a); err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, label := range m.Label {
					name += " " + label.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		if got["petrel_policy_sync_seconds"] >= 2 { // noted a moment after the enforcer has it
			break
		}
	}
	for name, want := range map[string]float64{
		"petrel_policy_sync_seconds": 2, "petrel_policy_sync_failures_total": 1,
		"petrel_policy_verdicts_total ingress denied": 7, "petrel_policy_verdicts_total egress forged": 2, "petrel_policy_verdicts_total egress denied": 0,
	} {
		if value, ok := got[name]; !ok || value < want {
			t.Errorf("%s is %v, want %v: %v", name, value, want, got)
		}
	}
}

func TestAgentConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":     {},
		"no client":   {Compiler: loopbackConfig(), Enforcer: &noted{}},
		"no enforcer": {Compiler: loopbackConfig(), Client: fake.NewClientset()},
		"no node":     {Client: fake.NewClientset(), Enforcer: &noted{}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// thousands is a cluster: pods over namespaces and nodes, and policies as people write them.
func thousands(t testing.TB, pods, policies int) (*Compiler, *world) {
	t.Helper()
	w := &world{}
	const namespaces = 50
	names := make([]string, namespaces)
	for i := range names {
		names[i] = "n" + string(rune('A'+i/26)) + string(rune('a'+i%26))
		w.namespaces = append(w.namespaces, namespace(names[i], "ns="+names[i]+",team="+names[i][:2]))
	}
	for i := range pods {
		node := here
		if i%10 != 0 {
			node = "there"
		}
		addr := netip.AddrFrom4([4]byte{10, 42, byte(i / 250), byte(1 + i%250)})
		labels := "app=" + string(rune('a'+i/namespaces%20)) + ",tier=" + string(rune('a'+i%3))
		pod := newTestPod(names[i%namespaces]+"/p"+addr.String(), labels, node, addr.String())
		w.pods = append(w.pods, pod)
	}
	for i := range policies {
		ns := names[i%namespaces]
		app := "app=" + string(rune('a'+i/namespaces%20))
		spec := []networkingv1.NetworkPolicySpec{
			ingress(peers(podsHere("tier=a")), ports("TCP/80")),
			ingress(peers(podsIn("team="+ns[:2], "tier=b")), nil),
			egress(peers(podsHere(""), block("0.0.0.0/0", "10.0.0.0/8")), ports("TCP/443", "UDP/53")),
			denyAll(in),
		}[i%4]
		w.policies = append(w.policies, newPolicy(ns+"/q"+string(rune('a'+i/namespaces)), app, spec))
	}
	return compilerOf(t, clusterConfig(), w), w
}

func BenchmarkCompileAfterOnePod(b *testing.B) {
	c, w := thousands(b, 5000, 400)
	p := c.Compile()
	b.Logf("%d peers, %d endpoints, %d subjects", len(p.Peers), len(p.Endpoints), len(p.Subjects))
	pod := w.pods[0]
	for i := range b.N {
		pod.Labels = set("app=a,tier=" + string(rune('a'+i%3)))
		c.SetPod(pod)
		c.Compile()
	}
}

func BenchmarkCompileAfterOnePolicy(b *testing.B) {
	c, w := thousands(b, 5000, 400)
	c.Compile()
	for i := range b.N {
		if err := c.SetPolicy(w.policies[i%len(w.policies)]); err != nil {
			b.Fatal(err)
		}
		c.Compile()
	}
}
