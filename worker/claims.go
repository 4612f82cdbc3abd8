package worker

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// claims finds a pod's volumes behind its claims: in the API and, when that is away, as the pod last had them.
type claims struct {
	client kubernetes.Interface
	dir    string
}

// Volume implements volume.Claims.
func (c *claims) Volume(ctx context.Context, namespace, name string) (*corev1.PersistentVolume, error) {
	var unbound error // what the API says of the claim stands, whatever was before
	v, err := fetch(ctx, filepath.Join(c.dir, "claim-"+name+".json"), func(ctx context.Context) (*corev1.PersistentVolume, error) {
		claim, err := c.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if unbound = notBound(claim); unbound != nil {
			return nil, unbound
		}
		v, err := c.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if ref := v.Spec.ClaimRef; ref == nil || ref.UID != claim.UID {
			unbound = fmt.Errorf("persistentvolumeclaim %q: its volume %q belongs to another claim", name, v.Name)
		}
		v.ManagedFields = nil
		return v, unbound
	})
	if unbound != nil {
		return nil, unbound
	}
	return v, err
}

func notBound(claim *corev1.PersistentVolumeClaim) error {
	switch {
	case claim.Status.Phase == corev1.ClaimLost:
		return fmt.Errorf("persistentvolumeclaim %q has lost its volume", claim.Name)
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return fmt.Errorf("persistentvolumeclaim %q is not bound to a volume yet", claim.Name)
	}
	return nil
}
