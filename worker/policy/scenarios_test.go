package policy

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scenarios are policies over ninePods, after the cases of upstream's suite: what each comes to is the oracle's to say.
var scenarios = []struct {
	name     string
	policies []*networkingv1.NetworkPolicy
}{
	{"no policy", nil},
	{"default deny ingress", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(in))}},
	{"default deny egress", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(out))}},
	{"default deny both", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", denyAll(in, out))}},
	{"deny everywhere", []*networkingv1.NetworkPolicy{
		newPolicy("x/p", "", denyAll(in, out)), newPolicy("y/p", "", denyAll(in, out)), newPolicy("z/p", "", denyAll(in, out))}},
	{"allow all ingress", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", ingress(nil, nil))}},
	{"allow all egress", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(nil, nil))}},
	{"policies add up", []*networkingv1.NetworkPolicy{
		newPolicy("x/deny", "", denyAll(in)), newPolicy("x/allow", "pod=a", ingress(peers(podsHere("pod=b")), nil))}},
	{"from pods of the same namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(podsHere("pod=b")), nil))}},
	{"from every pod of the same namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(podsHere("")), nil))}},
	{"from another namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(allIn("ns=y")), nil))}},
	{"from every namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(allIn("")), nil))}},
	{"from pods of another namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(podsIn("ns=y", "pod=b")), nil))}},
	{"from pods or a namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(podsHere("pod=b"), allIn("ns=z")), nil))}},
	{"from namespaces by expression", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "ns", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x", "y"}}}}}), nil))}},
	{"from a port", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(nil, ports("TCP/80")))}},
	{"from everyone on a port, from some on another", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			{Ports: ports("TCP/80")}, {From: peers(podsHere("pod=c")), Ports: ports("TCP/81", "UDP/80")}}})}},
	{"ingress by a port's name", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(peers(allIn("ns=y")), ports("TCP/web", "UDP/dns")))}},
	{"ingress by a name nobody has", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(nil, ports("TCP/nothing")))}},
	{"ingress by a protocol", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(nil, ports("UDP")))}},
	{"ingress by a range", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", ingress(nil, ports("TCP/81-90")))}},
	{"egress to pods", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", egress(peers(podsHere("pod=b")), nil))}},
	{"egress to another namespace", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(peers(allIn("ns=y")), ports("TCP/80")))}},
	{"egress by a port's name", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", egress(peers(allIn("ns=y")), ports("TCP/web")))}},
	{"egress to everyone by a port's name", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", egress(nil, ports("TCP/web", "TCP/81")))}},
	{"egress by a range", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", egress(nil, ports("UDP/1-80")))}},
	{"both ends must agree", []*networkingv1.NetworkPolicy{
		newPolicy("x/p", "pod=a", egress(peers(podsIn("ns=y", "pod=b")), nil)), newPolicy("y/p", "pod=b", ingress(peers(podsIn("ns=x", "")), ports("TCP/80")))}},
	{"egress to a block", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(peers(block("127.42.2.0/24")), nil))}},
	{"egress to one address", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(peers(block("127.42.2.2/32")), nil))}},
	{"egress to a block but for some", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(peers(block("127.42.0.0/16", "127.42.2.0/24")), nil))}},
	{"what one block excepts another allows", []*networkingv1.NetworkPolicy{
		newPolicy("x/p", "", egress(peers(block("127.42.0.0/16", "127.42.2.0/24")), nil)),
		newPolicy("x/q", "", egress(peers(block("127.42.2.1/32")), nil))}},
	{"ingress from a block but for some", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", ingress(peers(block("127.42.0.0/16", "127.42.3.0/30")), ports("TCP", "UDP/81")))}},
	{"a block with a port's name", []*networkingv1.NetworkPolicy{newPolicy("x/p", "", egress(peers(block("127.42.2.0/23", "127.42.3.1/32")), ports("TCP/web")))}},
	{"directions that are not named", []*networkingv1.NetworkPolicy{newPolicy("x/p", "pod=a", networkingv1.NetworkPolicySpec{
		Egress: []networkingv1.NetworkPolicyEgressRule{{To: peers(podsHere("pod=c"))}}})}},
}
