package servicetest

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// apiService is one Service of a case.
type apiService struct {
	*corev1.Service
	t *testing.T
	w *world
}

// servicePort is the port of Services that have one.
const servicePort = 8080 // which anybody may listen on

// add makes a Service with one port, changed as the case likes, until the case ends.
func (w *world) add(t *testing.T, changes ...func(*corev1.Service)) *apiService {
	t.Helper()
	n := w.names.Add(1)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: fmt.Sprintf("svc-%d", n), UID: types.UID(fmt.Sprint(n))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIPs: []string{w.vip().String()},
			Ports: []corev1.ServicePort{{Name: "p", Protocol: corev1.ProtocolTCP, Port: servicePort}},
		},
	}
	for _, change := range changes {
		change(svc)
	}
	made, err := w.client.CoreV1().Services(svc.Namespace).Create(context.Background(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &apiService{made, t, w}
	t.Cleanup(func() { s.remove() })
	return s
}

// at is the Service's address.
func (s *apiService) at() netip.AddrPort { return s.atIP(0) }

func (s *apiService) atIP(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(s.Spec.ClusterIPs[i]), uint16(s.Spec.Ports[0].Port))
}

// change updates the Service.
func (s *apiService) change(change func(*corev1.Service)) {
	s.t.Helper()
	next := s.DeepCopy()
	change(next)
	made, err := s.w.client.CoreV1().Services(s.Namespace).Update(context.Background(), next, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Service = made
}

// remove takes the Service and its endpoints out of the API.
func (s *apiService) remove() {
	s.endpoints()
	err := s.w.client.CoreV1().Services(s.Namespace).Delete(context.Background(), s.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Error(err)
	}
}

// state is what the API says of an endpoint.
type state int

const (
	ready state = iota
	unready
	terminating // and still serving
)

// member is one endpoint of a Service.
type member struct {
	*endpoint
	state state
	away  bool // on another node, as the API has it
}

// endpoints tells the API of the Service's endpoints: each has a slice of its own, for each has its own port.
func (s *apiService) endpoints(all ...member) {
	s.t.Helper()
	api := s.w.client.DiscoveryV1().EndpointSlices(s.Namespace)
	list, err := api.List(context.Background(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name})
	if err != nil {
		s.t.Fatal(err)
	}
	old := map[string]bool{}
	for i := range list.Items {
		old[list.Items[i].Name] = true
	}
	for _, m := range all { // what is new comes before the old goes
		slice := s.slice(m)
		if old[slice.Name] {
			_, err = api.Update(context.Background(), slice, metav1.UpdateOptions{})
		} else {
			_, err = api.Create(context.Background(), slice, metav1.CreateOptions{})
		}
		if err != nil {
			s.t.Fatal(err)
		}
		delete(old, slice.Name)
	}
	for name := range old {
		if err := api.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *apiService) slice(m member) *discoveryv1.EndpointSlice {
	node, family := NodeName, discoveryv1.AddressTypeIPv4
	if m.away {
		node = otherNode
	}
	if m.addr.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	port := m.port
	if port == "" {
		port = "p"
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name + "-" + m.name, UID: types.UID(s.Name + m.name),
			Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: family,
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Protocol: ptr.To(m.protocol), Port: ptr.To(int32(m.addr.Port()))}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{m.addr.Addr().String()}, NodeName: &node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: m.name},
			Conditions: discoveryv1.EndpointConditions{
				Ready: ptr.To(m.state == ready), Serving: ptr.To(m.state != unready), Terminating: ptr.To(m.state == terminating),
			},
		}},
	}
}
