package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// adminFile is the kubeconfig that a control plane leaves in its data directory, and ourFile the lab's, which leads
	// over the relay.
	adminFile = "admin.kubeconfig"
	ourFile   = "kubeconfig"
	// tailBytes of a log are shown with a failure.
	tailBytes = 2 << 10
)

// letIn makes the lab's kubeconfig of the control plane's: the same credentials, by the relay.
func (c *Cluster) letIn(admin, server string) error {
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return fmt.Errorf("read the control plane's kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = server
	}
	path := filepath.Join(c.Lab.cfg.Dir, ourFile)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	rest, err := clientConfig(path)
	if err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(rest); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return c.save(func(s *State) { s.API, s.Kubeconfig = server, path })
}

func clientConfig(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.UserAgent = -1, "petrel-lab"
	return config, nil
}

// token asks the cluster for a token by which nodes join.
func (c *Cluster) token(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.cfg.Petrel, "token", "create", "--kubeconfig", filepath.Join(c.Lab.cfg.Dir, ourFile))
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("make join token: %w: %s", err, strings.TrimSpace(complaints.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// WaitReady waits until a node's worker has said that it is Ready. What an earlier one has said does not count.
func (c *Cluster) WaitReady(ctx context.Context, name string) error {
	n, err := c.Node(name)
	if err != nil {
		return err
	}
	worker, err := n.process(Worker)
	if err != nil {
		return err
	}
	since := worker.began.Truncate(time.Second) // all that heartbeats tell
	return c.waitFor(ctx, joinLimit, name+" to be Ready", n, Worker, func(ctx context.Context) error {
		node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && !condition.LastHeartbeatTime.Time.Before(since) {
				return nil
			}
		}
		return errors.New("it is not Ready")
	})
}

// tail answers the end of a file, for what a failure prints.
func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(raw) > tailBytes {
		raw = raw[len(raw)-tailBytes:]
	}
	return strings.TrimSpace(string(raw))
}
