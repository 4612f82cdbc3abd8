package containerdtest

import (
	"context"
	"fmt"
	"path/filepath"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Sandbox is the configuration of a pod with a name and UID that no other call answers, in our control group, with logs
// in LogDir. A test may change it before it is run.
func (c *Containerd) Sandbox(name string) *runtimev1.PodSandboxConfig {
	c.mu.Lock()
	c.pods++
	n := c.pods
	c.mu.Unlock()
	uid := fmt.Sprintf("%s-%d", name, n)
	return &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: name, Namespace: "test", Uid: uid},
		Hostname:     name,
		LogDirectory: filepath.Join(c.LogDir, uid),
		Labels: map[string]string{
			"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "test", "io.kubernetes.pod.uid": uid,
		},
		Linux: &runtimev1.LinuxPodSandboxConfig{
			CgroupParent: c.CgroupParent + "/pod" + uid, SecurityContext: &runtimev1.LinuxSandboxSecurityContext{},
		},
	}
}

// Container is the configuration of a container of a pod that runs a command from an image that was imported.
func Container(name, image string, command ...string) *runtimev1.ContainerConfig {
	return &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: name}, Image: &runtimev1.ImageSpec{Image: image}, Command: command,
		LogPath: name + ".log",
		Labels:  map[string]string{"io.kubernetes.container.name": name},
		Linux:   &runtimev1.LinuxContainerConfig{SecurityContext: &runtimev1.LinuxContainerSecurityContext{}},
	}
}

// Run runs a pod with containers that have begun, and answers their IDs.
func (c *Containerd) Run(sandbox *runtimev1.PodSandboxConfig, containers ...*runtimev1.ContainerConfig) (sandboxID string, containerIDs []string) {
	c.tb.Helper()
	ctx := context.Background()
	sandboxID, err := c.CRI.RunPodSandbox(ctx, sandbox, "")
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, config := range containers {
		id, err := c.CRI.CreateContainer(ctx, sandboxID, config, sandbox)
		if err == nil {
			err = c.CRI.StartContainer(ctx, id)
		}
		if err != nil {
			c.tb.Fatal(err)
		}
		containerIDs = append(containerIDs, id)
	}
	return sandboxID, containerIDs
}
