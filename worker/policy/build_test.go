package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const here = "here"

// set reads "a=b,c=d".
func set(text string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			out[key] = value
		}
	}
	return out
}

func namespace(name, labels string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: set(labels)}}
}

// newTestPod makes a running pod; fullName is "namespace/name".
func newTestPod(fullName, labels, node string, ips ...string) *corev1.Pod {
	ns, name, _ := strings.Cut(fullName, "/")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: set(labels)},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "web", ContainerPort: 80, Protocol: corev1.ProtocolTCP},
			{Name: "dns", ContainerPort: 81, Protocol: corev1.ProtocolUDP},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return pod
}

func newPolicy(fullName, selects string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	ns, name, _ := strings.Cut(fullName, "/")
	spec.PodSelector = metav1.LabelSelector{MatchLabels: set(selects)}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
}

func selector(labels string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: set(labels)}
}

func podsHere(labels string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: selector(labels)}
}

func podsIn(namespaces, labels string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: selector(namespaces), PodSelector: selector(labels)}
}

func allIn(namespaces string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: selector(namespaces)}
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
}

func peers(list ...networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer { return list }

// ports reads "TCP", "TCP/80", "UDP/80-90", "TCP/web".
func ports(list ...string) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, text := range list {
		protocol, port, hasPort := strings.Cut(text, "/")
		p := networkingv1.NetworkPolicyPort{}
		if protocol != "" {
			proto := corev1.Protocol(protocol)
			p.Protocol = &proto
		}
		first, last, isRange := strings.Cut(port, "-")
		if hasPort {
			value := intstr.Parse(first)
			p.Port = &value
		}
		if isRange {
			end := intstr.Parse(last).IntVal
			p.EndPort = &end
		}
		out = append(out, p)
	}
	return out
}

func ingress(from []networkingv1.NetworkPolicyPeer, on []networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: from, Ports: on}},
	}
}

func egress(to []networkingv1.NetworkPolicyPeer, on []networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{To: to, Ports: on}},
	}
}

func denyAll(types ...networkingv1.PolicyType) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{PolicyTypes: types}
}

const (
	in  = networkingv1.PolicyTypeIngress
	out = networkingv1.PolicyTypeEgress
)

// ninePods are in three namespaces x, y and z the pods a, b and c, as upstream's suite has them, at 127.42.n.p.
func ninePods(w *world) {
	for n, ns := range []string{"x", "y", "z"} {
		w.namespaces = append(w.namespaces, namespace(ns, "ns="+ns))
		for p, name := range []string{"a", "b", "c"} {
			addr := fmt.Sprintf("127.42.%d.%d", n+1, p+1)
			w.pods = append(w.pods, newTestPod(ns+"/"+name, "pod="+name, here, addr))
		}
	}
}

func loopbackConfig() CompilerConfig {
	return CompilerConfig{
		NodeName: here,
		Hosts:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("127.42.0.0/16")},
	}
}

func compilerOf(t testing.TB, cfg CompilerConfig, w *world) *Compiler {
	t.Helper()
	c, err := NewCompiler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range w.namespaces {
		c.SetNamespace(ns)
	}
	for _, pod := range w.pods {
		c.SetPod(pod)
	}
	for _, np := range w.policies {
		if err := c.SetPolicy(np); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
