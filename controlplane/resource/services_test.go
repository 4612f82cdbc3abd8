package resource

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/store"
)

func newService(ns, name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: meta1(ns, name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "a", Port: 80}}}}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

// claimsOf lists what is claimed for a Service, from the store itself.
func claimsOf(t *testing.T, svc *corev1.Service) []string {
	t.Helper()
	list, err := shared.store.List(t.Context(), claims, store.ListOptions{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list.Entries {
		if c, err := object[*metav1.PartialObjectMetadata](e); err != nil {
			t.Fatal(err)
		} else if holderOf(c).uid == svc.UID {
			out = append(out, e.Namespace+"/"+e.Name)
		}
	}
	return out
}

func TestClusterIPs(t *testing.T) {
	ns := space(t)
	svc := create(t, newService(ns, "any", nil))
	addr, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if err != nil || !DefaultServiceCIDR.Contains(addr) || len(svc.Spec.ClusterIPs) != 1 || svc.Spec.ClusterIPs[0] != svc.Spec.ClusterIP {
		t.Fatalf("got %q %v", svc.Spec.ClusterIP, svc.Spec.ClusterIPs)
	}
	if svc.Spec.IPFamilies[0] != corev1.IPv4Protocol || *svc.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		t.Errorf("families %v %v", svc.Spec.IPFamilies, *svc.Spec.IPFamilyPolicy)
	}
	headless := create(t, newService(ns, "headless", func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }))
	if held := claimsOf(t, headless); len(held) != 0 || headless.Spec.ClusterIPs[0] != corev1.ClusterIPNone {
		t.Errorf("headless holds %v", held)
	}
	external := create(t, newService(ns, "external", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalName, s.Ports = corev1.ServiceTypeExternalName, "example.com", nil
	}))
	if external.Spec.ClusterIP != "" || len(claimsOf(t, external)) != 0 {
		t.Errorf("external name has %q", external.Spec.ClusterIP)
	}
	tests := []struct{ ip, text string }{
		{svc.Spec.ClusterIP, "already allocated"},
		{"10.0.0.1", "127.43.0.0/16"},
		{"127.43.0.0", "127.43.0.0/16"},
		{"127.43.255.255", "127.43.0.0/16"},
		{"nonsense", "clusterIP"},
	}
	for _, tt := range tests {
		_, err := shared.Client("test").Create(t.Context(), newService(ns, "bad", func(s *corev1.ServiceSpec) { s.ClusterIP = tt.ip }))
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.ip, err)
		}
	}
	for _, change := range []func(*corev1.ServiceSpec){
		func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} },
		func(s *corev1.ServiceSpec) { p := corev1.IPFamilyPolicyRequireDualStack; s.IPFamilyPolicy = &p },
	} {
		if _, err := shared.Client("test").Create(t.Context(), newService(ns, "v6", change)); !apierrors.IsInvalid(err) {
			t.Errorf("IPv6: %v", err)
		}
	}
}

func TestAddressesAreGivenBack(t *testing.T) {
	ns := space(t)
	svc := create(t, newService(ns, "s", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	if held := claimsOf(t, svc); len(held) != 2 {
		t.Fatalf("holds %v", held)
	}
	if _, _, err := shared.Delete(t.Context(), servicesDefinition(), call(ns, "s"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if held := claimsOf(t, svc); len(held) != 0 {
		t.Fatalf("after the deletion: %v", held)
	}
	again := create(t, newService(ns, "s", func(s *corev1.ServiceSpec) { s.ClusterIP = svc.Spec.ClusterIP }))
	if again.Spec.ClusterIP != svc.Spec.ClusterIP {
		t.Errorf("got %s", again.Spec.ClusterIP)
	}
	// A create that fails for another reason gives back what it had claimed.
	before := len(claimsIn(t, poolClusterIP))
	if _, err := shared.Client("test").Create(t.Context(), newService(ns, "s", nil)); !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if after := len(claimsIn(t, poolClusterIP)); after != before {
		t.Errorf("%d claims became %d", before, after)
	}
	// A deletion that waits for a finalizer gives back only when the object goes.
	held := newService(ns, "held", nil)
	held.Finalizers = []string{"test/hold"}
	svc = create(t, held)
	if _, removed, err := shared.Delete(t.Context(), servicesDefinition(), call(ns, "held"), metav1.DeleteOptions{}); err != nil || removed {
		t.Fatal(removed, err)
	}
	if len(claimsOf(t, svc)) != 1 {
		t.Error("given back too early")
	}
	modify[*corev1.Service](t, servicesDefinition(), call(ns, "held"), `{"metadata":{"$deleteFromPrimitiveList/finalizers":["test/hold"]}}`)
	if len(claimsOf(t, svc)) != 0 {
		t.Error("not given back")
	}
}

func claimsIn(t *testing.T, pool string) []*store.Entry {
	t.Helper()
	list, err := shared.store.List(t.Context(), claims, store.ListOptions{Query: store.Query{Namespace: pool}, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	return list.Entries
}

func TestServiceChangesItsType(t *testing.T) {
	ns := space(t)
	svc := create(t, newService(ns, "s", nil))
	patch := func(p string) *corev1.Service {
		return modify[*corev1.Service](t, servicesDefinition(), call(ns, "s"), p)
	}
	ip := svc.Spec.ClusterIP
	if svc = patch(`{"spec":{"type":"NodePort"}}`); svc.Spec.Ports[0].NodePort == 0 || svc.Spec.ClusterIP != ip || len(claimsOf(t, svc)) != 2 {
		t.Fatalf("as NodePort: %+v holds %v", svc.Spec, claimsOf(t, svc))
	}
	// The user's own manifest, sent again, names neither address nor port: both stay.
	port := svc.Spec.Ports[0].NodePort
	again := newService(ns, "s", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	out, err := shared.Client("test").Update(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	if svc = out.(*corev1.Service); svc.Spec.ClusterIP != ip || svc.Spec.Ports[0].NodePort != port {
		t.Errorf("sent again: %+v", svc.Spec)
	}
	if svc = patch(`{"spec":{"type":"ClusterIP"}}`); svc.Spec.Ports[0].NodePort != 0 || len(claimsOf(t, svc)) != 1 {
		t.Errorf("as ClusterIP: %+v holds %v", svc.Spec, claimsOf(t, svc))
	}
	if svc = patch(`{"spec":{"type":"ExternalName","externalName":"example.com"}}`); svc.Spec.ClusterIP != "" || len(claimsOf(t, svc)) != 0 {
		t.Errorf("as ExternalName: %+v holds %v", svc.Spec, claimsOf(t, svc))
	}
	if svc = patch(`{"spec":{"type":"ClusterIP","externalName":null}}`); svc.Spec.ClusterIP == "" || len(claimsOf(t, svc)) != 1 {
		t.Errorf("back: %+v holds %v", svc.Spec, claimsOf(t, svc))
	}
}

func TestNodePorts(t *testing.T) {
	ns := space(t)
	node := func(ports ...corev1.ServicePort) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Type, s.Ports = corev1.ServiceTypeNodePort, ports }
	}
	both := create(t, newService(ns, "both", node(
		corev1.ServicePort{Name: "t", Port: 53, Protocol: corev1.ProtocolTCP, NodePort: 30053},
		corev1.ServicePort{Name: "u", Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 30053})))
	if both.Spec.Ports[0].NodePort != 30053 || both.Spec.Ports[1].NodePort != 30053 {
		t.Errorf("one number for two protocols: %+v", both.Spec.Ports)
	}
	for name, ports := range map[string][]corev1.ServicePort{
		"taken": {{Port: 80, NodePort: 30053}}, "range": {{Port: 80, NodePort: 80}},
	} {
		if _, err := shared.Client("test").Create(t.Context(), newService(ns, name, node(ports...))); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lb := create(t, newService(ns, "lb", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	}))
	if lb.Spec.HealthCheckNodePort == 0 || lb.Spec.HealthCheckNodePort == lb.Spec.Ports[0].NodePort || len(claimsOf(t, lb)) != 3 {
		t.Errorf("load balancer: %+v", lb.Spec)
	}
}

// TestClusterOfMachines has services outside 127.0.0.0/8: addresses come from there, and endpoints on loopback, which
// would be another machine's own, are refused.
func TestClusterOfMachines(t *testing.T) {
	ns := space(t)
	r, err := New(Config{Store: shared.store, ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	made, err := r.Client("test").Create(background, newService(ns, "machines", nil))
	if err != nil {
		t.Fatal(err)
	}
	if addr, err := netip.ParseAddr(made.(*corev1.Service).Spec.ClusterIP); err != nil || !r.cfg.ServiceCIDR.Contains(addr) {
		t.Errorf("cluster IP %s, %v", addr, err)
	}
	for i, addr := range []string{"127.42.0.7", "10.42.1.7"} {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("machines-%d", i)},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{addr}}},
		}
		_, err := r.Client("test").Create(background, slice)
		if (err == nil) != (addr == "10.42.1.7") {
			t.Errorf("endpoint %s: %v", addr, err)
		}
		slice = slice.DeepCopy()
		slice.Name += "-own"
		if _, err := shared.Client("test").Create(background, slice); err != nil {
			t.Errorf("endpoint %s in a cluster of loopback addresses: %v", addr, err)
		}
	}
}

func TestConcurrentCreatesNeverShareAnAddress(t *testing.T) {
	ns := space(t)
	// A small range of its own, on two registries as two servers would be.
	cidr := netip.MustParsePrefix("127.43.200.0/26") // 64 addresses, 62 usable, one kubernetes' and one the DNS's
	var servers []*Registry
	for range 2 {
		r, err := New(Config{Store: shared.store, ServiceCIDR: cidr, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, r)
	}
	const usable = 60
	var mu sync.Mutex
	given, failed := map[string]int{}, 0
	var wg sync.WaitGroup
	for i := range usable + 5 {
		wg.Go(func() {
			out, err := servers[i%2].Client("test").Create(background, newService(ns, fmt.Sprintf("s%d", i), nil))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			given[out.(*corev1.Service).Spec.ClusterIP]++
		})
	}
	wg.Wait()
	if len(given) != usable || failed != 5 {
		t.Fatalf("%d addresses, %d failed", len(given), failed)
	}
	for ip, n := range given {
		if n != 1 {
			t.Errorf("%s was given %d times", ip, n)
		}
	}
}

func TestRepair(t *testing.T) {
	ns := space(t)
	svc := create(t, newService(ns, "s", nil))
	later := shared.cfg
	later.Now = func() time.Time { return time.Now().Add(2 * claimGrace) }
	r, err := New(later)
	if err != nil {
		t.Fatal(err)
	}
	gone := holder{namespace: ns, name: "gone", uid: "gone"}
	if made, err := shared.services.take(t.Context(), poolClusterIP, "127.43.9.9", gone); err != nil || !made {
		t.Fatal(made, err)
	}
	if err := shared.services.drop(t.Context(), poolClusterIP, svc.Spec.ClusterIP, holderFor(svc)); err != nil {
		t.Fatal(err)
	}
	if err := shared.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := claimsOf(t, svc); len(held) != 1 {
		t.Errorf("the service's claim was not made again: %v", held)
	}
	if shared.services.free(t.Context(), poolClusterIP, "127.43.9.9") {
		t.Error("a young claim was dropped: its service may be about to be made")
	}
	if err := r.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.store.Get(t.Context(), claims, poolClusterIP, "127.43.9.9", true); !apierrors.IsNotFound(err) {
		t.Errorf("a left-over claim stays: %v", err)
	}
}

func TestBootstrap(t *testing.T) {
	for _, name := range append([]string{corev1.NamespaceNodeLease}, systemNamespaces...) {
		ns := read(t, &corev1.Namespace{ObjectMeta: meta1("", name)})
		if ns.Labels[corev1.LabelMetadataName] != name || ns.Status.Phase != corev1.NamespaceActive {
			t.Errorf("namespace %s: %v %s", name, ns.Labels, ns.Status.Phase)
		}
	}
	svc := read(t, &corev1.Service{ObjectMeta: meta1("default", "kubernetes")})
	if svc.Spec.ClusterIP != "127.43.0.1" || svc.Spec.Ports[0].Port != 8080 {
		t.Errorf("kubernetes: %+v", svc.Spec)
	}
	version := svc.ResourceVersion
	if err := shared.Bootstrap(t.Context(), netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		t.Fatal(err)
	}
	if svc = read(t, &corev1.Service{ObjectMeta: meta1("default", "kubernetes")}); svc.ResourceVersion != version {
		t.Error("a second bootstrap wrote again")
	}
	// A server that has moved to another port says so.
	if err := shared.Bootstrap(t.Context(), netip.MustParseAddrPort("127.0.0.1:9090")); err != nil {
		t.Fatal(err)
	}
	slice := read(t, &discoveryv1.EndpointSlice{ObjectMeta: meta1("default", "kubernetes")})
	svc = read(t, &corev1.Service{ObjectMeta: meta1("default", "kubernetes")})
	if svc.Spec.Ports[0].Port != 9090 || *slice.Ports[0].Port != 9090 || slice.Endpoints[0].Addresses[0] != "127.0.0.1" {
		t.Errorf("after the move: %+v %+v", svc.Spec.Ports, slice)
	}
	for _, name := range systemNamespaces {
		if _, _, err := shared.Delete(t.Context(), namespaces(), call("", name), metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("delete %s: %v", name, err)
		}
	}
}
