package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SchemeGroupVersion is the group and version of this package's kinds.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// The resources of this package.
var (
	AppResource = ResourceInfo{
		GVR: SchemeGroupVersion.WithResource("apps"), GVK: SchemeGroupVersion.WithKind("App"), Namespaced: true,
	}
	RevisionResource = ResourceInfo{
		GVR: SchemeGroupVersion.WithResource("revisions"), GVK: SchemeGroupVersion.WithKind("Revision"), Namespaced: true,
	}
)

// Resources lists the resources of this package.
func Resources() []ResourceInfo { return []ResourceInfo{AppResource, RevisionResource} }

// AddToScheme registers the kinds and their defaults.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &App{}, &AppList{}, &Revision{}, &RevisionList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	scheme.AddTypeDefaultingFunc(&App{}, func(obj any) { SetAppDefaults(obj.(*App)) })
	scheme.AddTypeDefaultingFunc(&AppList{}, func(obj any) {
		list := obj.(*AppList)
		for i := range list.Items {
			SetAppDefaults(&list.Items[i])
		}
	})
	return nil
}
