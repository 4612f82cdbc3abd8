package resource

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// localPathClass is the storage class that every cluster begins with, for claims that name none: directories on the
// nodes, made where the claim's first pod runs.
func localPathClass() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name: api.LocalPathClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: api.LocalPathProvisioner, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// ensureStorage makes the class when it is missing. What its users made of it stays: another class may be the default.
func ensureStorage(ctx context.Context, c *Client) error {
	return ensure(ctx, c, localPathClass(), nil)
}
