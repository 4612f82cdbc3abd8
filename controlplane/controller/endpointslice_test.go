package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var onlySlices = []build{newEndpointSlices}

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "service-uid", Labels: map[string]string{"petrel.run/app": "web"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: "127.43.0.9", Selector: web,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// backend makes a ready pod of the service.
func backend(n int, change ...func(*corev1.Pod)) *corev1.Pod {
	name := fmt.Sprintf("web-%04d", n)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: web},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{
			Name: "app", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("127.42.%d.%d", n/250, 1+n%250)},
	}
	setReady(p, true)
	for _, c := range change {
		c(p)
	}
	return p
}

func backends(count int) []*corev1.Pod {
	pods := make([]*corev1.Pod, count)
	for i := range pods {
		pods[i] = backend(i)
	}
	return pods
}

func (w *world) slices() []*discoveryv1.EndpointSlice {
	return all[*discoveryv1.EndpointSlice](w, endpointSlicesResource)
}

func TestEndpoints(t *testing.T) {
	for _, tc := range []struct {
		name    string
		service *corev1.Service
		pod     *corev1.Pod
		want    string // ready serving terminating, port; empty for no endpoint
	}{
		{"ready", service(), backend(1), "true true false 8080"},
		{"not ready", service(), backend(1, func(p *corev1.Pod) { setReady(p, false) }), "false false false 8080"},
		{"terminating and serving", service(), backend(1, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), "false true true 8080"},
		{"not ready and published", service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
			backend(1, func(p *corev1.Pod) { setReady(p, false) }), "true false false 8080"},
		{"ended", service(), backend(1, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), ""},
		{"mirror of a static pod", service(), backend(1, func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), ""},
		{"without address", service(), backend(1, func(p *corev1.Pod) { p.Status.PodIP = "" }), ""},
		{"IPv6 only", service(), backend(1, func(p *corev1.Pod) { p.Status.PodIP = "fd00::1" }), ""},
		{"IPv4 second", service(), backend(1, func(p *corev1.Pod) {
			p.Status.PodIP, p.Status.PodIPs = "fd00::1", []corev1.PodIP{{IP: "fd00::1"}, {IP: "127.42.0.2"}}
		}), "true true false 8080"},
		{"port by number", service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(9090) }), backend(1), "true true false 9090"},
		{"port not said", service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.IntOrString{} }), backend(1), "true true false 80"},
		{"port name unknown to the pod", service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("admin") }), backend(1), ""},
		{"port name of another protocol", service(func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }), backend(1), ""},
		{"port of a sidecar", service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("side") }), backend(1, func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{
				RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 15001}},
			}}
		}), "true true false 15001"},
		{"headless without ports", service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = corev1.ClusterIPNone, nil }), backend(1), "true true false none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			for _, g := range groupEndpoints(tc.service, []*corev1.Pod{tc.pod}) {
				for _, e := range g.endpoints {
					port := "none"
					if len(g.ports) > 0 {
						port = fmt.Sprint(*g.ports[0].Port)
					}
					got += fmt.Sprint(*e.Conditions.Ready, " ", *e.Conditions.Serving, " ", *e.Conditions.Terminating, " ", port)
					if *e.NodeName != "node" || e.TargetRef.Name != "web-0001" || e.TargetRef.UID != "web-0001" || e.TargetRef.Kind != "Pod" {
						t.Errorf("endpoint %+v", e)
					}
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestEndpointsWithDifferentPorts(t *testing.T) {
	other := backend(2, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9999 })
	plan := planSlices(service(), []*corev1.Pod{backend(1), other}, nil)
	if len(plan.create) != 2 || *plan.create[0].Ports[0].Port == *plan.create[1].Ports[0].Port {
		t.Errorf("%d slices, want one for each port", len(plan.create))
	}
}

// TestSlicePlacementProperty changes the pods at random. Slices never exceed their size, each endpoint is in exactly
// one, none moves, and nothing is written for nothing.
func TestSlicePlacementProperty(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 7))
		pods := map[int]*corev1.Pod{}
		var have []*discoveryv1.EndpointSlice
		for range 15 {
			was := placesOf(have)
			for range r.IntN(200) {
				n := r.IntN(400)
				switch r.IntN(3) {
				case 0:
					delete(pods, n)
				case 1:
					pods[n] = backend(n)
				case 2:
					pods[n] = backend(n, func(p *corev1.Pod) { setReady(p, r.IntN(2) == 0) })
				}
			}
			var list []*corev1.Pod
			for _, p := range pods {
				list = append(list, p)
			}
			have = applySlices(t, have, planSlices(service(), list, have))
			now := placesOf(have)
			if len(now) != len(pods) {
				t.Fatalf("seed %d: %d endpoints for %d pods", seed, len(now), len(pods))
			}
			for pod, slice := range was {
				if moved, ok := now[pod]; ok && moved != slice {
					t.Fatalf("seed %d: %s moved from %s to %s", seed, pod, slice, moved)
				}
			}
			again := planSlices(service(), list, have)
			if len(again.create)+len(again.update)+len(again.remove) != 0 {
				t.Fatalf("seed %d: a second look at the same writes %d, %d, %d", seed, len(again.create), len(again.update), len(again.remove))
			}
			if len(have) > 4+len(pods)/50 {
				t.Fatalf("seed %d: %d slices for %d pods", seed, len(have), len(pods))
			}
		}
	}
}

// placesOf maps each pod to its slice.
func placesOf(slices []*discoveryv1.EndpointSlice) map[string]string {
	places := map[string]string{}
	for _, s := range slices {
		for _, e := range s.Endpoints {
			places[e.TargetRef.Name] = s.Name
		}
	}
	return places
}

func applySlices(t *testing.T, have []*discoveryv1.EndpointSlice, plan *slicePlan) []*discoveryv1.EndpointSlice {
	t.Helper()
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range have {
		byName[s.Name] = s
	}
	for _, s := range plan.remove {
		delete(byName, s.Name)
	}
	for _, s := range slices.Concat(plan.create, plan.update) {
		if len(s.Endpoints) > maxEndpoints {
			t.Fatalf("%d endpoints in a slice", len(s.Endpoints))
		}
		byName[s.Name] = s
	}
	var after []*discoveryv1.EndpointSlice
	for _, s := range byName {
		after = append(after, s)
	}
	return after
}

func TestEndpointSlicesFollowPods(t *testing.T) {
	foreign := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "by-hand", Labels: map[string]string{
			discoveryv1.LabelServiceName: "web", discoveryv1.LabelManagedBy: "somebody",
		}}, AddressType: discoveryv1.AddressTypeIPv4,
	}
	inWorld(t, onlySlices, func(w *world) {
		own := func() []*discoveryv1.EndpointSlice {
			return slices.DeleteFunc(w.slices(), func(s *discoveryv1.EndpointSlice) bool { return s.Name == "by-hand" })
		}
		s := own()
		if len(s) != 1 || len(s[0].Endpoints) != 0 {
			t.Fatalf("%d slices before there are pods, want an empty one", len(s))
		}
		if l := s[0].Labels; l[discoveryv1.LabelServiceName] != "web" || l[discoveryv1.LabelManagedBy] != managedBy || l["petrel.run/app"] != "web" ||
			!metav1.IsControlledBy(s[0], get(w, service())) {
			t.Errorf("slice %+v", s[0].ObjectMeta)
		}
		w.create(backend(1, func(p *corev1.Pod) { setReady(p, false) }))
		w.settle(time.Second)
		if s := own(); len(s) != 1 || len(s[0].Endpoints) != 1 || *s[0].Endpoints[0].Conditions.Ready {
			t.Fatalf("slices %+v", s)
		}
		changeStatus(w, backend(1), func(p *corev1.Pod) { setReady(p, true) })
		w.settle(10 * time.Millisecond) // a quiet service is not kept waiting
		if s := own(); !*s[0].Endpoints[0].Conditions.Ready {
			t.Error("a pod that turned ready gets no traffic")
		}
		writes := w.count("update EndpointSlice")
		edit(w, backend(1), func(p *corev1.Pod) { p.Annotations = map[string]string{"x": "y"} })
		w.settle(time.Second)
		if w.count("update EndpointSlice") != writes {
			t.Error("a change that makes no difference was written")
		}
		edit(w, service(), func(s *corev1.Service) { s.Spec.Selector = nil })
		w.settle(time.Second)
		if len(own()) != 0 {
			t.Error("a service without selector keeps our slices")
		}
		edit(w, service(), func(s *corev1.Service) { s.Spec.Selector = web })
		w.settle(time.Second)
		if len(own()) != 1 {
			t.Error("the slices did not come back")
		}
		w.delete(service(), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		if len(own()) != 0 || !w.exists(foreign) {
			t.Error("slices of a deleted service are left, or another's was touched")
		}
	}, service(), foreign)
}

// TestEndpointSlicesThousandPods brings up a thousand pods in a second on lagging caches.
func TestEndpointSlicesThousandPods(t *testing.T) {
	inWorld(t, onlySlices, func(w *world) {
		w.mu.Lock()
		w.lag[endpointSlicesResource] = 300 * time.Millisecond
		w.mu.Unlock()
		for _, p := range backends(1000) {
			w.create(p)
			w.settle(time.Millisecond)
		}
		w.settle(5 * time.Second)
		if n := len(placesOf(w.slices())); n != 1000 || len(w.slices()) != 10 {
			t.Errorf("%d endpoints in %d slices", n, len(w.slices()))
		}
		if made := w.count("create EndpointSlice"); made != 11 {
			t.Errorf("%d creations of ten slices and the empty one before", made)
		}
		if writes := w.count("update EndpointSlice") + w.count("create EndpointSlice"); writes > 100 {
			t.Errorf("%d writes", writes)
		}
	}, service())
}

func TestEndpointSliceNameTaken(t *testing.T) {
	s := service()
	taken := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: sliceName(s, "", 0)}, AddressType: discoveryv1.AddressTypeIPv4,
	}
	inWorld(t, onlySlices, func(w *world) {
		if got := w.slices(); len(got) != 2 {
			t.Errorf("%d slices, want the stranger's and ours", len(got))
		}
	}, taken, s)
}
