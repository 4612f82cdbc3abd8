package controller

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// The resources that the controllers watch.
var (
	podsResource           = corev1.SchemeGroupVersion.WithResource("pods")
	nodesResource          = corev1.SchemeGroupVersion.WithResource("nodes")
	servicesResource       = corev1.SchemeGroupVersion.WithResource("services")
	namespacesResource     = corev1.SchemeGroupVersion.WithResource("namespaces")
	leasesResource         = coordinationv1.SchemeGroupVersion.WithResource("leases")
	deploymentsResource    = appsv1.SchemeGroupVersion.WithResource("deployments")
	replicaSetsResource    = appsv1.SchemeGroupVersion.WithResource("replicasets")
	jobsResource           = batchv1.SchemeGroupVersion.WithResource("jobs")
	claimsResource         = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	volumesResource        = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
	classesResource        = storagev1.SchemeGroupVersion.WithResource("storageclasses")
	attachmentsResource    = storagev1.SchemeGroupVersion.WithResource("volumeattachments")
	csiDriversResource     = storagev1.SchemeGroupVersion.WithResource("csidrivers")
	endpointSlicesResource = discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
)

// Names of the indexes. They are Petrel's own so that they meet no other index on a shared informer.
const (
	// indexController finds what an object controls, by the controller's UID. What has no controller is found by
	// orphansOf its namespace.
	indexController = "petrel.run/controller-uid"
	// indexNode finds pods by the node they are bound to.
	indexNode = "petrel.run/node-name"
	// indexNamespace finds objects by namespace.
	indexNamespace = cache.NamespaceIndex
	// indexClaims finds pods by "namespace/claim" of what they mount.
	indexClaims = "petrel.run/claims"
	// indexService finds EndpointSlices by "namespace/service".
	indexService = "petrel.run/service"
)

// orphansOf is the value under which indexController holds the objects of a namespace that nobody controls. No UID
// has a slash.
func orphansOf(namespace string) string { return "orphans/" + namespace }

// byController is the index function of indexController.
func byController(obj any) ([]string, error) {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return nil, nil
	}
	if ref := metav1.GetControllerOfNoCopy(meta); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return []string{orphansOf(meta.GetNamespace())}, nil
}

// byNode is the index function of indexNode.
func byNode(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil, nil
	}
	return []string{pod.Spec.NodeName}, nil
}

// byClaims is the index function of indexClaims.
func byClaims(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var keys []string
	for i := range pod.Spec.Volumes {
		if name := claimName(pod, &pod.Spec.Volumes[i]); name != "" {
			keys = append(keys, pod.Namespace+"/"+name)
		}
	}
	return keys, nil
}

// claimName is the claim that a volume of a pod stands for; empty for other volumes.
func claimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// byService is the index function of indexService.
func byService(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
}
