package cluster

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
)

// joinLimit bounds a worker that is expected to fail.
const joinLimit = 2 * time.Minute

// Joined is a cluster whose control plane speaks TLS, on loopback, and whose worker joins it with a token.
type Joined struct {
	ground
	API     string // https://127.0.0.1:NNNN
	Gateway string // 127.0.0.1:NNNN

	ControlPlane *Process
	Worker       *Process
	flags        []string // of the control plane
}

// StartJoined starts a control plane with further flags and waits until its API is ready. Nobody has joined it yet.
func StartJoined(ctx context.Context, o Options, flags ...string) (*Joined, error) {
	g, err := newGround(o)
	if err != nil {
		return nil, err
	}
	j := &Joined{ground: g, flags: flags}
	if j.Gateway, err = freeAddress(); err == nil {
		err = j.UpControlPlane(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, j.Stop(context.WithoutCancel(ctx)))
	}
	return j, nil
}

// UpControlPlane starts the control plane, on the port it had before, and waits until it is ready.
func (j *Joined) UpControlPlane(ctx context.Context) error {
	listen := "127.0.0.1:0"
	if j.API != "" {
		listen = j.API[len("https://"):]
	}
	args := append([]string{"--tls", "--listen", listen, "--gateway-listen", j.Gateway, "--service-cidr", j.Addresses.Services}, j.flags...)
	p, state, err := j.launch(ctx, "controlplane", j.LogPath("controlplane"), j.DataDir("controlplane"), args...)
	j.ControlPlane = p
	if err != nil {
		return err
	}
	j.API = state.API
	return Until(ctx, readyLimit, "the API to be ready", func() error {
		if !p.Running() {
			return fmt.Errorf("%s ended: %v", p.Name, p.err)
		}
		_, err := j.Run(ctx, "", "version", "-o", "json")
		return err
	})
}

// DataDir is a part's --data-dir.
func (j *Joined) DataDir(part string) string { return filepath.Join(j.Dir, part) }

// LogPath is where a part, "controlplane" or a node's name, writes.
func (j *Joined) LogPath(part string) string { return filepath.Join(j.Dir, part+".log") }

// Kubeconfig is an administrator's.
func (j *Joined) Kubeconfig() string {
	return filepath.Join(j.DataDir("controlplane"), "admin.kubeconfig")
}

// Cluster is the same cluster as its clients see it. It must be stopped as a Joined.
func (j *Joined) Cluster() *Cluster {
	return &Cluster{ground: j.ground, State: State{API: j.API, Gateway: j.Gateway}, Kubeconfig: j.Kubeconfig(),
		logs: []string{j.LogPath("controlplane")}}
}

// Run runs a command of petrel as the administrator and answers its standard output.
func (j *Joined) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, j.Petrel(), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), "PETREL_KUBECONFIG="+j.Kubeconfig(), "PETREL_SERVER=")
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("petrel %s: %w\n%s%s", args[0], err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func (j *Joined) workerArgs(node, token string) []string {
	args := append(undisturbed(), "--server", j.API, "--node-name", node, "--gateway-listen", j.Gateway, "--pod-cidr", j.Addresses.Pods, "--stop-pods")
	if token != "" {
		args = append(args, "--token", token)
	}
	return args
}

// Join starts the worker of a node, with a token or, once it has joined, without one.
func (j *Joined) Join(ctx context.Context, node, token string) (err error) {
	j.Worker, _, err = j.launch(ctx, "worker", j.LogPath(node), j.DataDir(node), j.workerArgs(node, token)...)
	return err
}

// JoinFails starts a worker in another directory, which has to fail, and answers what it says.
func (j *Joined) JoinFails(ctx context.Context, dir, node, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	args := append([]string{"worker", "--log-file", "-", "--data-dir", j.DataDir(dir)}, j.workerArgs(node, token)...)
	out, err := exec.CommandContext(ctx, j.Petrel(), args...).CombinedOutput()
	if err == nil || ctx.Err() != nil {
		return string(out), fmt.Errorf("a worker that has to fail: %v (%v)", err, ctx.Err())
	}
	return string(out), nil
}

// Stop ends both parts, the worker first, and whatever they left.
func (j *Joined) Stop(ctx context.Context) error { return j.stop(ctx, j.Worker, j.ControlPlane) }
