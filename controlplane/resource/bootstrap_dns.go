package resource

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// dnsName is the name of the Service of the cluster's DNS in kube-system, the one that everybody knows it by.
	dnsName = "kube-dns"
	dnsPort = 53
	// labelProxyName keeps service proxies away from a Service that is served otherwise, and nodeDNS says who serves this
	// one: each node's worker, for its own pods.
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	nodeDNS        = "petrel-dns"
)

// ensureDNS makes the Service of the cluster's DNS where there is none. What an administrator made of it stays. A range
// without a tenth address, or one where it is taken, leaves the cluster without: that is no reason not to start.
func (r *Registry) ensureDNS(ctx context.Context, c *Client) error {
	addr, ok := r.services.ips.dns()
	if !ok {
		r.cfg.Logger.Warn("the range of cluster IPs is too small for cluster DNS", "range", r.services.ips.prefix.String())
		return nil
	}
	err := ensure(ctx, c, dnsService(addr.String()), nil)
	if apierrors.IsInvalid(err) {
		r.cfg.Logger.Warn("the cluster has no DNS: its address cannot be had", "address", addr.String(), "error", err)
		return nil
	}
	return err
}

func dnsService(ip string) *corev1.Service {
	port := func(name string, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Protocol: protocol, Port: dnsPort, TargetPort: intstr.FromInt32(dnsPort)}
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, Name: dnsName,
			Labels: map[string]string{"k8s-app": dnsName, labelProxyName: nodeDNS},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			Ports: []corev1.ServicePort{port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)},
		},
	}
}
