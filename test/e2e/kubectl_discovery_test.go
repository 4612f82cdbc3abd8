package e2e

import (
	"testing"
)

// TestDiscovery reads what the server says about itself, as kubectl's users do.
func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	matches(t, w.kubectl("api-resources"),
		`^configmaps +cm +v1 +true +ConfigMap$`, `^namespaces +ns +v1 +false +Namespace$`, `^pods +po +v1 +true +Pod$`,
		`^deployments +deploy +apps/v1 +true +Deployment$`, `^jobs +batch/v1 +true +Job$`,
		`^leases +coordination.k8s.io/v1 +true +Lease$`, `^endpointslices +discovery.k8s.io/v1 +true +EndpointSlice$`,
		`^networkpolicies +netpol +networking.k8s.io/v1 +true +NetworkPolicy$`,
		`^persistentvolumeclaims +pvc +v1 +true +PersistentVolumeClaim$`, `^persistentvolumes +pv +v1 +false +PersistentVolume$`,
		`^storageclasses +sc +storage.k8s.io/v1 +false +StorageClass$`, `^csinodes +storage.k8s.io/v1 +false +CSINode$`,
		`^certificatesigningrequests +csr +certificates.k8s.io/v1 +false +CertificateSigningRequest$`,
		`^selfsubjectreviews +authentication.k8s.io/v1 +false +SelfSubjectReview$`)
	matches(t, w.kubectl("auth", "whoami"), `^Username +petrel:admin$`, `system:masters`)
	matches(t, w.kubectl("api-resources", "--verbs=list,watch", "--namespaced=false", "-o", "name"), `^namespaces$`, `^nodes$`)
	matches(t, w.kubectl("api-versions"), `^apps/v1$`, `^batch/v1$`, `^v1$`)
	matches(t, w.kubectl("version"), `^Server Version: v1\.`)
	matches(t, w.kubectl("explain", "deployment.spec.strategy.rollingUpdate"), `^KIND: +Deployment$`, `maxSurge`, `maxUnavailable`)
	contains(t, w.kubectl("explain", "pod", "--recursive"), "terminationGracePeriodSeconds")
	matches(t, w.kubectl("cluster-info"), `Kubernetes control plane`)
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		equal(t, path, w.kubectl("get", "--raw", path), "ok")
	}
	contains(t, w.kubectl("get", "--raw", "/openapi/v3"), "apis/apps/v1")
}
