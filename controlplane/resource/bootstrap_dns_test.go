package resource

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func kubeDNS() *corev1.Service {
	return &corev1.Service{ObjectMeta: meta1(metav1.NamespaceSystem, dnsName)}
}

func TestBootstrapMakesTheDNSService(t *testing.T) {
	svc := read(t, kubeDNS())
	if svc.Spec.ClusterIP != "127.43.0.10" || svc.Labels[labelProxyName] != nodeDNS || len(svc.Spec.Selector) != 0 {
		t.Errorf("kube-dns: %v %+v", svc.Labels, svc.Spec)
	}
	for i, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		if p := svc.Spec.Ports[i]; p.Port != 53 || p.Protocol != protocol {
			t.Errorf("port %d: %+v", i, p)
		}
	}
	// What an administrator made of it stays.
	changed := modify[*corev1.Service](t, servicesDefinition(), call(metav1.NamespaceSystem, dnsName), `{"spec":{"selector":{"app":"coredns"}}}`)
	if err := shared.Bootstrap(t.Context(), netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		t.Fatal(err)
	}
	if again := read(t, kubeDNS()); again.ResourceVersion != changed.ResourceVersion {
		t.Error("a second bootstrap wrote again")
	}
}

// A cluster without an address for its DNS starts all the same.
func TestBootstrapWithoutRoomForDNS(t *testing.T) {
	if err := shared.Client("test").Delete(t.Context(), kubeDNS(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := space(t)
	squatter := create(t, &corev1.Service{ObjectMeta: meta1(ns, "s"),
		Spec: corev1.ServiceSpec{ClusterIP: "127.43.0.10", Ports: []corev1.ServicePort{{Port: 80}}}})
	boot := func() {
		t.Helper()
		if err := shared.Bootstrap(t.Context(), netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
			t.Fatal(err)
		}
	}
	boot()
	if _, err := shared.Client("test").Get(t.Context(), kubeDNS()); !apierrors.IsNotFound(err) {
		t.Errorf("with its address taken: %v", err)
	}
	if err := shared.Client("test").Delete(t.Context(), squatter, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	boot()
	if got := read(t, kubeDNS()).Spec.ClusterIP; got != "127.43.0.10" {
		t.Errorf("with its address free again: %s", got)
	}
}

func TestReservedAddresses(t *testing.T) {
	for prefix, want := range map[string]int{"127.43.0.0/16": 2, "10.0.0.0/28": 2, "10.0.0.0/29": 1} {
		r := newIPRange(netip.MustParsePrefix(prefix))
		n := 0
		for i := range uint32(16) {
			if i < r.size && r.reserved(r.at(i)) {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d addresses are reserved, want %d", prefix, n, want)
		}
	}
}
