package main

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodePoll is how often the node is looked at until it is ready. It is one get from a cache, and people wait for it.
const nodePoll = 50 * time.Millisecond

// awaitNode waits until a node is ready and answers it.
func awaitNode(ctx context.Context, client kubernetes.Interface) (*corev1.Node, error) {
	for {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil {
			for i := range nodes.Items {
				if isReady(&nodes.Items[i]) {
					return &nodes.Items[i], nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(nodePoll):
		}
	}
}

// isReady tells whether the node's worker says ready now: a condition left from the last run carries an older lease,
// which the node lifecycle controller marks Unknown, so Ready=True alone is enough to schedule by.
func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// greeting is what `petrel up` says once.
type greeting struct {
	where whereabouts
	node  *corev1.Node
	took  time.Duration
	data  string
	log   string
	// kubeconfig is where the credentials are; empty: none are needed.
	kubeconfig string
}

func greet(out io.Writer, g greeting) {
	hint, deploy := "petrel kubeconfig --server "+g.where.API, "curl -T hello.wasm "+g.where.API+"/v1/apps/hello"
	if g.kubeconfig != "" {
		hint, deploy = "KUBECONFIG="+g.kubeconfig, "petrel deploy hello.wasm --kubeconfig "+g.kubeconfig
	}
	fmt.Fprintf(out, `petrel is up: node %s is ready (%s CPU, %s memory, %s pods) after %.1f s
  API      %[6]s   (%[11]s)
  apps     http://<app>.localhost:%[7]s/   through %[8]s
  state    %[9]s
  log      %[10]s
Deploy:    %[12]s
Stop with Ctrl-C; state is kept.
`,
		g.node.Name, g.node.Status.Capacity.Cpu(), gibibytes(g.node), g.node.Status.Capacity.Pods(), g.took.Seconds(),
		g.where.API, portOf(g.where.Gateway), g.where.Gateway, g.data, g.log, hint, deploy)
}

func gibibytes(node *corev1.Node) string {
	return fmt.Sprintf("%.1f GiB", float64(node.Status.Capacity.Memory().Value())/(1<<30))
}
