package worker

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/worker/runtimes"
)

// errNoContainerNetwork is told where a node's pods have loopback addresses, which no namespace but the machine's has.
var errNoContainerNetwork = errors.New("containers on this node have no network but the machine's own (hostNetwork): pods' addresses are loopback addresses here")

// runtimeHandler is the handler of the pod's RuntimeClass; empty where it names none. The class of Wasm pods is known
// without asking, because it is in each cluster and most pods that name one name it.
func (m *manager) runtimeHandler(ctx context.Context, p *corev1.Pod) (string, error) {
	if p.Spec.RuntimeClassName == nil || *p.Spec.RuntimeClassName == "" {
		return "", nil
	}
	name := *p.Spec.RuntimeClassName
	if name == runtimes.HandlerWasm {
		return name, nil
	}
	class, err := fetch(ctx, m.paths.runtimeClass(name), func(ctx context.Context) (*nodev1.RuntimeClass, error) {
		object, err := m.cfg.Client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &nodev1.RuntimeClass{Handler: object.Handler}, nil
	})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("RuntimeClass %q not found", name)
	}
	if err != nil {
		return "", fmt.Errorf("read RuntimeClass: %w", err)
	}
	return class.Handler, nil
}
