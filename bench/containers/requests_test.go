package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/confine"
)

// requests are what the worker asked containerd for one pod with one container: the bare calls ask for the same.
type requests struct {
	sandbox   *runtimev1.PodSandboxConfig
	container *runtimev1.ContainerConfig
	groups    *confine.Groups // of the bare calls' pods
}

// readRequests asks containerd what the one pod that it has was asked for.
func readRequests(ctx context.Context, socket string) (r *requests, err error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := runtimev1.NewRuntimeServiceClient(conn)
	r = &requests{sandbox: &runtimev1.PodSandboxConfig{}, container: &runtimev1.ContainerConfig{}}
	sandboxes, err := client.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{})
	if err != nil || len(sandboxes.GetItems()) != 1 {
		return nil, errors.Join(err, fmt.Errorf("containerd has %d sandboxes", len(sandboxes.GetItems())))
	}
	all, err := client.ListContainers(ctx, &runtimev1.ListContainersRequest{})
	if err != nil || len(all.GetContainers()) != 1 {
		return nil, errors.Join(err, fmt.Errorf("containerd has %d containers", len(all.GetContainers())))
	}
	sandbox, err := client.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: sandboxes.GetItems()[0].GetId(), Verbose: true})
	if err != nil {
		return nil, err
	}
	container, err := client.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: all.GetContainers()[0].GetId(), Verbose: true})
	if err != nil {
		return nil, err
	}
	return r, errors.Join(readConfig(sandbox.GetInfo(), r.sandbox), readConfig(container.GetInfo(), r.container))
}

func readConfig(info map[string]string, into any) error {
	of := struct {
		Config any `json:"config"`
	}{into}
	if err := json.Unmarshal([]byte(info["info"]), &of); err != nil {
		return fmt.Errorf("read what containerd was asked for: %w", err)
	}
	return nil
}

// adopt makes the requests those of a client that is no node: nothing says that its pods are of Kubernetes, and what it
// mounts is its own.
func (r *requests) adopt(b *testing.B, dir string) error {
	r.sandbox.Labels, r.sandbox.Annotations, r.container.Labels, r.container.Annotations = nil, nil, nil, nil
	for i, m := range r.container.GetMounts() {
		copied := filepath.Join(dir, fmt.Sprintf("mount-%d", i))
		if err := copyFile(m.GetHostPath(), copied); err != nil {
			return err
		}
		m.HostPath = copied
	}
	base := filepath.Join(filepath.Dir(filepath.Dir(r.sandbox.GetLinux().GetCgroupParent())), "bare")
	groups, err := confine.NewGroups("/sys/fs/cgroup", base)
	if err != nil {
		return err
	}
	r.groups = groups
	b.Cleanup(func() {
		if err := groups.Close(); err != nil {
			b.Error(err)
		}
	})
	return nil
}

// named are the requests for another pod.
func (r *requests) named(name, dir string) *runtimev1.PodSandboxConfig {
	config := proto.CloneOf(r.sandbox)
	config.Metadata = &runtimev1.PodSandboxMetadata{Name: name, Namespace: "bare", Uid: name}
	config.Hostname, config.LogDirectory = name, filepath.Join(dir, name)
	config.Linux.CgroupParent = r.groups.Parent(types.UID(name))
	return config
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
