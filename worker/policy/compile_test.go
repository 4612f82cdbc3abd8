package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
)

var (
	protocolsAsked = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}
	portsAsked     = []int32{80, 81}
)

// addresses of all pods, and some that are nobody's.
func (w *world) addresses(others ...string) []netip.Addr {
	var out []netip.Addr
	for _, pod := range w.pods {
		for _, ip := range pod.Status.PodIPs {
			out = append(out, netip.MustParseAddr(ip.IP))
		}
	}
	for _, text := range others {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

// compare asks compiled rules and the oracle about every pair, port and protocol.
func compare(t *testing.T, w *world, got ebpfproxy.Policy, addrs []netip.Addr) (allowed, denied int) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, from := range addrs {
		for _, to := range addrs {
			if from.Is4() != to.Is4() {
				continue
			}
			for _, protocol := range protocolsAsked {
				for _, port := range portsAsked {
					q := packet{from, to, protocol, port}
					want := w.permits(q)
					if verdict(got, q) != want {
						t.Errorf("%s → %s %s/%d: want %t", from, to, protocol, port, want)
					}
					if want {
						allowed++
					} else {
						denied++
					}
				}
			}
		}
	}
	return allowed, denied
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			w := &world{policies: s.policies, host: loopbackConfig().Hosts, podRange: loopbackConfig().PodCIDRs}
			ninePods(w)
			got := compilerOf(t, loopbackConfig(), w).Compile()
			allowed, denied := compare(t, w, got, w.addresses("127.0.0.1", "127.42.9.9", "192.0.2.1"))
			t.Logf("%d allowed, %d denied", allowed, denied)
		})
	}
}

// TestRandomWorlds changes a world at random and compares after each change; a compiler that lived through all changes
// has to say what a new one says.
func TestRandomWorlds(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			w := &world{host: clusterConfig().Hosts, podRange: clusterConfig().PodCIDRs}
			for n := range 3 {
				w.namespaces = append(w.namespaces, namespace(fmt.Sprint("n", n), randomLabels(r)))
			}
			c := compilerOf(t, clusterConfig(), w)
			denied := 0
			for range 40 {
				changeWorld(t, r, w, c)
				_, no := compare(t, w, c.Compile(), w.addresses("10.0.0.1", "192.0.2.1", "10.42.7.7", "2001:db8::1"))
				denied += no
				fresh := compilerOf(t, clusterConfig(), w)
				compare(t, w, fresh.Compile(), w.addresses("10.0.0.2"))
			}
			if denied == 0 {
				t.Error("nothing was ever denied")
			}
		})
	}
}

func clusterConfig() CompilerConfig {
	return CompilerConfig{
		NodeName: here,
		Hosts:    []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("127.0.0.0/8")},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/64")},
	}
}

func randomLabels(r *rand.Rand) string { return fmt.Sprintf("a=%d,b=%d", r.IntN(2), r.IntN(3)) }

// someLabels select something of what randomLabels makes, or everything.
func someLabels(r *rand.Rand) string {
	return []string{"", "a=0", "a=1", "b=0", "b=1", "a=1,b=2"}[r.IntN(6)]
}

func changeWorld(t *testing.T, r *rand.Rand, w *world, c *Compiler) {
	t.Helper()
	switch n := r.IntN(10); {
	case n < 4: // a pod comes or changes; pods on other nodes have no policies of their own here, so all are local
		name := fmt.Sprintf("n%d/p%d", r.IntN(3), r.IntN(4))
		index := len(w.pods)
		for i, p := range w.pods {
			if p.Namespace+"/"+p.Name == name {
				index = i
			}
		}
		suffix := strings.NewReplacer("n", "", "/p", ".").Replace(name)
		pod := newTestPod(name, randomLabels(r), here, "10.42."+suffix, "fd42::"+strings.Replace(suffix, ".", ":", 1))
		pod.Spec.Containers[0].Ports[0].ContainerPort = portsAsked[r.IntN(2)]
		pod.Spec.HostNetwork = r.IntN(8) == 0
		if r.IntN(8) == 0 {
			pod.Status.Phase = corev1.PodSucceeded
		}
		w.pods = append(w.pods[:index:index], append([]*corev1.Pod{pod}, w.pods[min(index+1, len(w.pods)):]...)...)
		c.SetPod(pod)
	case n < 5 && len(w.pods) > 0:
		i := r.IntN(len(w.pods))
		c.RemovePod(types.NamespacedName{Namespace: w.pods[i].Namespace, Name: w.pods[i].Name})
		w.pods = append(w.pods[:i:i], w.pods[i+1:]...)
	case n < 8:
		np := randomPolicy(r)
		index := len(w.policies)
		for i, p := range w.policies {
			if p.Namespace == np.Namespace && p.Name == np.Name {
				index = i
			}
		}
		w.policies = append(w.policies[:index:index], append([]*networkingv1.NetworkPolicy{np}, w.policies[min(index+1, len(w.policies)):]...)...)
		if err := c.SetPolicy(np); err != nil {
			t.Fatal(err)
		}
	case n < 9 && len(w.policies) > 0:
		i := r.IntN(len(w.policies))
		c.RemovePolicy(types.NamespacedName{Namespace: w.policies[i].Namespace, Name: w.policies[i].Name})
		w.policies = append(w.policies[:i:i], w.policies[i+1:]...)
	default:
		i := r.IntN(len(w.namespaces))
		w.namespaces[i] = namespace(w.namespaces[i].Name, randomLabels(r))
		c.SetNamespace(w.namespaces[i])
	}
}

func randomPolicy(r *rand.Rand) *networkingv1.NetworkPolicy {
	spec := networkingv1.NetworkPolicySpec{}
	for range r.IntN(3) {
		spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: randomPeers(r), Ports: randomPorts(r)})
	}
	for range r.IntN(3) {
		spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: randomPeers(r), Ports: randomPorts(r)})
	}
	spec.PolicyTypes = [][]networkingv1.PolicyType{nil, {in}, {out}, {in, out}}[r.IntN(4)]
	return newPolicy(fmt.Sprintf("n%d/q%d", r.IntN(3), r.IntN(3)), someLabels(r), spec)
}

func randomPeers(r *rand.Rand) []networkingv1.NetworkPolicyPeer {
	var list []networkingv1.NetworkPolicyPeer
	for range r.IntN(3) {
		list = append(list, []networkingv1.NetworkPolicyPeer{
			podsHere(someLabels(r)), allIn(someLabels(r)), podsIn(someLabels(r), someLabels(r)),
			block("10.42.0.0/16", "10.42.1.0/24"), block("10.42.1.2/31"), block("0.0.0.0/0", "10.0.0.0/8"), block("fd42::/64", "fd42::1:0/112"), block("::/0"),
		}[r.IntN(8)])
	}
	return list
}

func randomPorts(r *rand.Rand) []networkingv1.NetworkPolicyPort {
	return [][]networkingv1.NetworkPolicyPort{
		nil, ports("TCP/80"), ports("TCP/web"), ports("UDP"), ports("TCP/81-90", "UDP/1-80"), ports("UDP/dns", "TCP/web"), ports("TCP/81", "UDP/81"),
	}[r.IntN(7)]
}

// TestOnlyWhatLocalPodsAskFor: neither other nodes' policies nor pods that nobody names take room.
func TestOnlyWhatLocalPodsAskFor(t *testing.T) {
	w := &world{policies: []*networkingv1.NetworkPolicy{
		newPolicy("x/local", "pod=a", ingress(peers(podsHere("pod=b")), nil)),
		newPolicy("y/remote", "", ingress(peers(allIn("")), nil)),
	}}
	ninePods(w)
	for _, pod := range w.pods {
		if pod.Namespace != "x" {
			pod.Spec.NodeName = "there"
		}
	}
	cfg := CompilerConfig{NodeName: here}
	c := compilerOf(t, cfg, w)
	got := c.Compile()
	if len(got.Peers) != 3 || len(got.Endpoints) != 1 || len(got.Subjects) != 1 {
		t.Errorf("got %+v", got)
	}
	id := got.Peers[netip.MustParsePrefix("127.42.1.2/32")].Identity
	if id <= ebpfproxy.IdentityHost || got.Subjects[got.Endpoints[netip.MustParseAddr("127.42.1.1")].Ingress][0].Identity != id {
		t.Errorf("got %+v", got)
	}
	c.RemovePolicy(types.NamespacedName{Namespace: "x", Name: "local"})
	if got := c.Compile(); len(got.Peers) != 2 || len(got.Endpoints)+len(got.Subjects) != 0 {
		t.Errorf("left: %+v", got)
	}
	c.RemovePolicy(types.NamespacedName{Namespace: "y", Name: "remote"})
	if len(c.atoms) != 0 || len(c.policies) != 0 {
		t.Errorf("kept %v, %v", c.atoms, c.policies)
	}
}

// TestNumbersStay: what did not change keeps its numbers, so that nothing is written for it; what is new gets numbers that
// were never used.
func TestNumbersStay(t *testing.T) {
	w := &world{policies: []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(podsHere("pod=b")), nil))}}
	ninePods(w)
	c := compilerOf(t, loopbackConfig(), w)
	first := c.Compile()
	if again := c.Compile(); !reflect.DeepEqual(first, again) {
		t.Errorf("\n%+v\n%+v", first, again)
	}
	if err := c.SetPolicy(newPolicy("y/p", "pod=a", ingress(peers(podsHere("pod=b")), nil))); err != nil {
		t.Fatal(err)
	}
	second := c.Compile()
	for prefix, peer := range first.Peers {
		if second.Peers[prefix] != peer {
			t.Errorf("%s was %v and is %v", prefix, peer, second.Peers[prefix])
		}
	}
	c.RemovePolicy(types.NamespacedName{Namespace: "y", Name: "p"})
	c.Compile()
	if err := c.SetPolicy(newPolicy("y/p", "pod=a", ingress(peers(podsHere("pod=b")), nil))); err != nil {
		t.Fatal(err)
	}
	third := c.Compile()
	b, a := netip.MustParsePrefix("127.42.2.2/32"), netip.MustParseAddr("127.42.2.1")
	if third.Peers[b].Identity <= second.Peers[b].Identity || third.Endpoints[a].Ingress <= second.Endpoints[a].Ingress {
		t.Errorf("numbers were used again: %+v, %+v", second, third)
	}
}

func TestAssignedAddressesComeFirst(t *testing.T) {
	c := compilerOf(t, loopbackConfig(), &world{policies: []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(in))}})
	pod := newTestPod("x/a", "", here)
	if c.SetPod(pod) {
		t.Error("a pod without an address changed something")
	}
	name := types.NamespacedName{Namespace: "x", Name: "a"}
	addr := netip.MustParseAddr("127.42.5.5")
	c.Assign(name, []netip.Addr{addr})
	c.SetPod(pod)
	if got := c.Compile(); got.Endpoints[addr].Ingress == 0 {
		t.Errorf("not isolated: %+v", got)
	}
	if names := c.PodNames(); names[addr] != "x/a" {
		t.Errorf("named %v", names)
	}
	c.RemovePod(name)
	if got := c.Compile(); len(got.Endpoints) != 0 || len(c.assigned) != 0 {
		t.Errorf("left: %+v", got)
	}
}

func TestPoliciesThatCannotBeRead(t *testing.T) {
	bad := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
	tooHigh := ports("TCP/80")
	end := int32(70000)
	tooHigh[0].EndPort = &end
	for name, np := range map[string]*networkingv1.NetworkPolicy{
		"selector":           {Spec: networkingv1.NetworkPolicySpec{PodSelector: *bad}},
		"peer's pods":        newPolicy("x/p", "", ingress(peers(networkingv1.NetworkPolicyPeer{PodSelector: bad}), nil)),
		"peer's namespaces":  newPolicy("x/p", "", egress(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: bad}), nil)),
		"empty peer":         newPolicy("x/p", "", ingress(peers(networkingv1.NetworkPolicyPeer{}), nil)),
		"block":              newPolicy("x/p", "", egress(peers(block("10.0.0.0/33")), nil)),
		"except":             newPolicy("x/p", "", egress(peers(block("10.0.0.0/8", "ten")), nil)),
		"protocol":           newPolicy("x/p", "", ingress(nil, ports("ICMP"))),
		"port":               newPolicy("x/p", "", ingress(nil, ports("TCP/0"))),
		"range":              newPolicy("x/p", "", ingress(nil, ports("TCP/90-80"))),
		"range out of ports": newPolicy("x/p", "", ingress(nil, tooHigh)),
	} {
		c := compilerOf(t, loopbackConfig(), &world{policies: []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(in))}})
		c.SetPod(newTestPod("x/a", "", here, "127.42.1.1"))
		if err := c.SetPolicy(np); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := c.Compile(); got.Endpoints[netip.MustParseAddr("127.42.1.1")].Ingress == 0 {
			t.Errorf("%s: the version before did not stay", name)
		}
	}
}

func TestHostsChange(t *testing.T) {
	w := &world{policies: []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(in))}, podRange: loopbackConfig().PodCIDRs}
	ninePods(w)
	c := compilerOf(t, loopbackConfig(), w)
	for _, hosts := range []string{"127.0.0.0/8", "192.0.2.0/24"} {
		w.host = []netip.Prefix{netip.MustParsePrefix(hosts)}
		if changed, err := c.SetHosts(w.host); err != nil || changed != (hosts != "127.0.0.0/8") {
			t.Errorf("set to %s: %t, %v", hosts, changed, err)
		}
		compare(t, w, c.Compile(), w.addresses("127.0.0.1", "192.0.2.1"))
	}
	if _, err := c.SetHosts([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}); err == nil {
		t.Error("an unmasked prefix was accepted")
	}
}

func TestConfigs(t *testing.T) {
	for name, cfg := range map[string]CompilerConfig{
		"no node":       {},
		"unmasked host": {NodeName: here, Hosts: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
		"no prefix":     {NodeName: here, PodCIDRs: []netip.Prefix{{}}},
	} {
		if _, err := NewCompiler(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
