package resource

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// systemNamespaces are there from the start and may not be deleted; kube-node-lease comes back with the next start.
var systemNamespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}

// kubernetesName is the name of the Service by which pods find the API server.
const kubernetesName = "kubernetes"

// bootstrapManager owns what the API server writes on its own behalf.
const bootstrapManager = "petrel-apiserver"

// Bootstrap makes what every cluster has: the system's namespaces, the Service default/kubernetes with the first
// address of its range and the API server behind it, the Service of the cluster's DNS with the tenth, a storage
// class and the RuntimeClass of Wasm pods. It is safe to run at every start.
func (r *Registry) Bootstrap(ctx context.Context, apiServer netip.AddrPort) error {
	if err := r.Repair(ctx); err != nil {
		return err
	}
	c := r.Client(bootstrapManager)
	for _, name := range append([]string{corev1.NamespaceNodeLease}, systemNamespaces...) {
		if err := ensure(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil); err != nil {
			return err
		}
	}
	service := r.kubernetesService(apiServer)
	err := ensure(ctx, c, service, func(obj api.Object) bool {
		have, ok := obj.(*corev1.Service)
		if !ok || len(have.Spec.Ports) == 1 && apiequality.Semantic.DeepEqual(have.Spec.Ports, service.Spec.Ports) {
			return false
		}
		have.Spec.Ports = service.Spec.Ports
		return true
	})
	if err != nil {
		return err
	}
	if err := r.ensureDNS(ctx, c); err != nil {
		return err
	}
	if err := ensureStorage(ctx, c); err != nil {
		return err
	}
	if err := ensure(ctx, c, wasmClass(), nil); err != nil {
		return err
	}
	want := r.kubernetesEndpoints(apiServer)
	return ensure(ctx, c, want, func(obj api.Object) bool {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || apiequality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) && apiequality.Semantic.DeepEqual(slice.Ports, want.Ports) {
			return false
		}
		slice.Endpoints, slice.Ports = want.Endpoints, want.Ports
		return true
	})
}

// ensure makes an object, or mends it where it is there and mend says that it changed it.
func ensure(ctx context.Context, c *Client, obj api.Object, mend func(api.Object) bool) error {
	have, err := c.Get(ctx, obj)
	if apierrors.IsNotFound(err) {
		_, err = c.Create(ctx, obj)
		if err == nil || apierrors.IsAlreadyExists(err) {
			return nil
		}
		return fmt.Errorf("create %s: %w", obj.GetName(), err)
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", obj.GetName(), err)
	}
	if mend == nil || !mend(have) {
		return nil
	}
	if _, err := c.Update(ctx, have); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("update %s: %w", obj.GetName(), err)
	}
	return nil
}

// KubernetesAddress is the cluster IP of default/kubernetes.
func (r *Registry) KubernetesAddress() netip.Addr { return r.services.ips.first() }

// securePort is where clients in the cluster expect an API that speaks TLS: Kubernetes' tools take it for granted.
const securePort = 443

// apiPort is the name and number of the API's port as the Service has it.
func (r *Registry) apiPort(server netip.AddrPort) (string, int32) {
	if r.cfg.SecureAPI {
		return "https", securePort
	}
	return "http", int32(server.Port())
}

func (r *Registry) kubernetesService(server netip.AddrPort) *corev1.Service {
	first := r.KubernetesAddress().String()
	name, port := r.apiPort(server)
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: kubernetesName,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: first, ClusterIPs: []string{first},
			Ports: []corev1.ServicePort{{
				Name: name, Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(int32(server.Port())),
			}},
		},
	}
}

func (r *Registry) kubernetesEndpoints(server netip.AddrPort) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if server.Addr().Unmap().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	name, _ := r.apiPort(server)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: kubernetesName,
			Labels: map[string]string{discoveryv1.LabelServiceName: kubernetesName},
		},
		AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{server.Addr().Unmap().String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		}},
		Ports: []discoveryv1.EndpointPort{{
			Name: ptr.To(name), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(server.Port())),
		}},
	}
}
