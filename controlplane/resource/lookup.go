package resource

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/store"
)

// The resources that this package itself knows something about.
func namespaces() *Definition { return must(corev1.SchemeGroupVersion.WithResource("namespaces")) }
func pods() *Definition       { return must(corev1.SchemeGroupVersion.WithResource("pods")) }
func servicesDefinition() *Definition {
	return must(corev1.SchemeGroupVersion.WithResource("services"))
}
func events() *Definition { return must(corev1.SchemeGroupVersion.WithResource("events")) }
func runtimeClasses() *Definition {
	return must(nodev1.SchemeGroupVersion.WithResource("runtimeclasses"))
}
func deployments() *Definition { return must(appsv1.SchemeGroupVersion.WithResource("deployments")) }

func must(gvr schema.GroupVersionResource) *Definition {
	d, ok := Lookup(gvr)
	if !ok {
		panic(fmt.Sprintf("resource %v is not in the table", gvr))
	}
	return d
}

// object is an entry's object as its Go type. It is shared and must not be changed.
func object[T runtime.Object](e *store.Entry) (T, error) {
	typed, ok := e.Object().(T)
	if !ok {
		return typed, fmt.Errorf("read %s/%s: it is a %T", e.Namespace, e.Name, e.Object())
	}
	return typed, nil
}
