package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OwnedBy is the owner reference that ties an object's life to the App's.
func OwnedBy(app *App) metav1.OwnerReference {
	return *metav1.NewControllerRef(app, AppResource.GVK)
}

// IsOwnedBy tells whether the App controls the object. A name alone is not enough: an App that was removed and made
// anew has another UID, and what the first one left behind is not its.
func IsOwnedBy(obj metav1.Object, app *App) bool { return metav1.IsControlledBy(obj, app) }
