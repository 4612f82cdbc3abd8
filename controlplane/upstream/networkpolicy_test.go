package upstream

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func newPolicy(spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "s", UID: "u", CreationTimestamp: metav1.Now()}, Spec: spec}
}

func TestNetworkPolicyDefaults(t *testing.T) {
	k := find(t, "NetworkPolicy")
	port := networkingv1.NetworkPolicyPort{Port: ptr.To(intstr.FromInt32(80))}
	both := newPolicy(networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{port}}},
		Egress:  []networkingv1.NetworkPolicyEgressRule{{}},
	})
	k.Default(both)
	if got := both.Spec.PolicyTypes; !slices.Equal(got, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}) {
		t.Errorf("policy types %v", got)
	}
	if p := both.Spec.Ingress[0].Ports[0].Protocol; p == nil || *p != corev1.ProtocolTCP {
		t.Errorf("protocol %v", p)
	}
	none := newPolicy(networkingv1.NetworkPolicySpec{})
	k.Default(none)
	if got := none.Spec.PolicyTypes; !slices.Equal(got, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
		t.Errorf("policy types of an empty policy: %v", got)
	}
}

func TestNetworkPolicyIsValidated(t *testing.T) {
	k := find(t, "NetworkPolicy")
	from := func(peers ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}
	}
	block := func(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
	}
	ports := func(p networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{p}}}}
	}
	for name, c := range map[string]struct {
		spec networkingv1.NetworkPolicySpec
		ok   bool
	}{
		"block":                 {from(block("10.0.0.0/8", "10.1.0.0/16")), true},
		"block of version 6":    {from(block("fd00::/8")), true},
		"exception outside":     {from(block("10.0.0.0/8", "11.0.0.0/16")), false},
		"no network":            {from(block("10.0.0.1")), false},
		"peer without anything": {from(networkingv1.NetworkPolicyPeer{}), false},
		"block and pods": {from(networkingv1.NetworkPolicyPeer{
			IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}, PodSelector: &metav1.LabelSelector{}}), false},
		"selector":          {from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}), true},
		"bad selector":      {from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}}), false},
		"range":             {ports(networkingv1.NetworkPolicyPort{Port: ptr.To(intstr.FromInt32(80)), EndPort: ptr.To[int32](90)}), true},
		"empty range":       {ports(networkingv1.NetworkPolicyPort{Port: ptr.To(intstr.FromInt32(90)), EndPort: ptr.To[int32](80)}), false},
		"range from a name": {ports(networkingv1.NetworkPolicyPort{Port: ptr.To(intstr.FromString("http")), EndPort: ptr.To[int32](80)}), false},
		"named port":        {ports(networkingv1.NetworkPolicyPort{Port: ptr.To(intstr.FromString("http"))}), true},
		"foreign protocol":  {ports(networkingv1.NetworkPolicyPort{Protocol: ptr.To(corev1.Protocol("ICMP"))}), false},
		"unknown type":      {networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Sideways"}}, false},
	} {
		obj := newPolicy(c.spec)
		k.Default(obj)
		if _, err := k.Create(context.Background(), Call{Namespace: "s"}, obj); (err == nil) != c.ok || err != nil && !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNetworkPolicyCountsGenerations(t *testing.T) {
	k := find(t, "NetworkPolicy")
	old := newPolicy(networkingv1.NetworkPolicySpec{})
	old.ResourceVersion, old.Generation = "1", 3
	k.Default(old)
	same, next := old.DeepCopy(), old.DeepCopy()
	same.Labels = map[string]string{"a": "b"}
	next.Spec.PodSelector.MatchLabels = map[string]string{"a": "b"}
	for obj, want := range map[*networkingv1.NetworkPolicy]int64{same: 3, next: 4} {
		out, err := k.Update(context.Background(), Call{Namespace: "s"}, obj, old.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if got := out.(*networkingv1.NetworkPolicy).Generation; got != want {
			t.Errorf("generation %d, want %d", got, want)
		}
	}
}
