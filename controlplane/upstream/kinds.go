package upstream

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
)

// Status, Finalize, Approval, EphemeralContainers and Resize are the subresources that have strategies of their own.
const (
	Status              = "status"
	Finalize            = "finalize"
	Approval            = "approval"
	EphemeralContainers = "ephemeralcontainers"
	Resize              = "resize"
)

// Kinds makes the rules of every upstream resource that is served.
func Kinds() []*Kind {
	// Whether pods may be privileged is a switch of the whole process upstream, and off by itself. Nodes that run containers
	// run what their administrators ask for; of Wasm modules a rule of ours says that they cannot be.
	capabilities.Setup(true, 0)
	status := func(s strategy) map[string]strategy { return map[string]strategy{Status: s} }
	return []*Kind{
		kind(corev1.SchemeGroupVersion, "namespaces", "Namespace", namespace.Strategy,
			map[string]strategy{Status: namespace.StatusStrategy, Finalize: namespace.FinalizeStrategy}, namespaceFields),
		kind(corev1.SchemeGroupVersion, "nodes", "Node", node.Strategy, status(node.StatusStrategy), nodeFields),
		kind(corev1.SchemeGroupVersion, "pods", "Pod", pod.Strategy,
			map[string]strategy{Status: pod.StatusStrategy, EphemeralContainers: pod.EphemeralContainersStrategy, Resize: pod.ResizeStrategy}, podFields),
		kind(corev1.SchemeGroupVersion, "services", "Service", service.Strategy, status(service.StatusStrategy), serviceFields),
		kind(corev1.SchemeGroupVersion, "configmaps", "ConfigMap", configmap.Strategy, nil, nil),
		kind(corev1.SchemeGroupVersion, "secrets", "Secret", secret.Strategy, nil, secretFields),
		kind(corev1.SchemeGroupVersion, "events", "Event", event.Strategy, nil, eventFields),
		kind(discoveryv1.SchemeGroupVersion, "endpointslices", "EndpointSlice", loopbackEndpoints{endpointslice.Strategy}, nil, nil),
		kind(coordinationv1.SchemeGroupVersion, "leases", "Lease", lease.Strategy, nil, nil),
		kind(appsv1.SchemeGroupVersion, "deployments", "Deployment", deployment.Strategy, status(deployment.StatusStrategy), nil),
		kind(appsv1.SchemeGroupVersion, "replicasets", "ReplicaSet", replicaset.Strategy, status(replicaset.StatusStrategy), replicaSetFields),
		kind(batchv1.SchemeGroupVersion, "jobs", "Job", job.Strategy, status(job.StatusStrategy), jobFields),
		kind(networkingv1.SchemeGroupVersion, "networkpolicies", "NetworkPolicy", networkpolicy.Strategy, nil, nil),
		kind(corev1.SchemeGroupVersion, "persistentvolumes", "PersistentVolume", persistentvolume.Strategy, status(persistentvolume.StatusStrategy), nameField),
		kind(corev1.SchemeGroupVersion, "persistentvolumeclaims", "PersistentVolumeClaim", persistentvolumeclaim.Strategy, status(persistentvolumeclaim.StatusStrategy), nameField),
		kind(nodev1.SchemeGroupVersion, "runtimeclasses", "RuntimeClass", runtimeclass.Strategy, nil, nil),
		kind(storagev1.SchemeGroupVersion, "storageclasses", "StorageClass", storageclass.Strategy, nil, nil),
		kind(storagev1.SchemeGroupVersion, "csidrivers", "CSIDriver", csidriver.Strategy, nil, nil),
		kind(storagev1.SchemeGroupVersion, "csinodes", "CSINode", csinode.Strategy, nil, nil),
		kind(storagev1.SchemeGroupVersion, "volumeattachments", "VolumeAttachment", volumeattachment.Strategy, status(volumeattachment.StatusStrategy), nil),
		kind(certificatesv1.SchemeGroupVersion, "certificatesigningrequests", "CertificateSigningRequest", certificates.Strategy,
			map[string]strategy{Status: certificates.StatusStrategy, Approval: certificates.ApprovalStrategy}, requestFields),
	}
}

func kind(gv schema.GroupVersion, resource, name string, main strategy, subs map[string]strategy, selectable func(runtime.Object) fields.Set) *Kind {
	return &Kind{gvr: gv.WithResource(resource), gvk: gv.WithKind(name), main: main, subs: subs, selectable: selectable}
}
