package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is any API object with metadata: what the scheduler, the controllers and their clients exchange.
type Object interface {
	metav1.Object
	runtime.Object
}

// ResourceInfo names one served resource.
type ResourceInfo struct {
	GVR        schema.GroupVersionResource
	GVK        schema.GroupVersionKind
	Namespaced bool
}
