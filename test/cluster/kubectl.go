package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kubectl is the real kubectl, pointed at a cluster.
type Kubectl struct {
	Path      string
	Server    string
	Config    string // a kubeconfig, instead of Server
	Namespace string // "": default
	Home      string // where it keeps its discovery cache; no kubeconfig of the developer's is ever read
}

// Kubectl answers a kubectl for this cluster.
func (c *Cluster) Kubectl(path, namespace string) Kubectl {
	return Kubectl{Path: path, Server: c.State.API, Config: c.Kubeconfig, Namespace: namespace, Home: c.Dir}
}

// Command makes the command line, to be started by the caller.
func (k Kubectl) Command(ctx context.Context, args ...string) *exec.Cmd {
	global := []string{"--server", k.Server}
	if k.Config != "" {
		global = []string{"--kubeconfig", k.Config}
	}
	if k.Namespace != "" {
		global = append(global, "--namespace", k.Namespace)
	}
	// Global flags come first, where no "--" of the caller's can swallow them.
	cmd := exec.CommandContext(ctx, k.Path, append(global, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+k.Home, "KUBECONFIG="+os.DevNull,
		"KUBECACHEDIR="+filepath.Join(k.Home, "kube-cache"))
	return cmd
}

// Run runs kubectl with what stdin gives and answers its standard output. The error tells what it printed.
func (k Kubectl) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := k.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
