package containerd_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	sandboxes "github.com/containerd/containerd/api/services/sandbox/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// TestSweep has a daemon forget a pod that runs, and killed: the next one removes what is left of it, and nothing else.
func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, c *containerdtest.Containerd) {
		image := c.ImportBusybox()
		sleep := func() *runtimev1.ContainerConfig {
			return containerdtest.Container("sleep", image, "/bin/sleep", "3600")
		}
		kept, keptContainers := c.Run(c.Sandbox("kept"), sleep())
		lost, lostContainers := c.Run(c.Sandbox("lost"), sleep())
		before, _, err := c.CRI.ContainerStatus(t.Context(), keptContainers[0], false)
		if err != nil {
			t.Fatal(err)
		}
		if l := leftOf(t, c, lost); len(l) < 3 || netns(t, c) != 2 || veths(t, c) != 2 {
			t.Fatalf("of the pod that is to be lost there are %q, %d network namespaces, %d links", l, netns(t, c), veths(t, c))
		}
		forget(t, c, append(lostContainers, lost)...)
		pid := c.PID()
		c.Kill()
		eventually(t, "another process", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return c.CRI.WaitReady(ctx) == nil && c.PID() != pid
		})
		for _, id := range append(lostContainers, lost) {
			eventually(t, "the lost pod to be removed", func() bool { return len(leftOf(t, c, id)) == 0 })
		}
		eventually(t, "its network to be removed", func() bool { return netns(t, c) == 1 && veths(t, c) == 1 })
		after, _, err := c.CRI.ContainerStatus(t.Context(), keptContainers[0], false)
		if err != nil || after.GetState() != runtimev1.ContainerState_CONTAINER_RUNNING || after.GetStartedAt() != before.GetStartedAt() {
			t.Errorf("the pod that was kept is %v, started %d, not %d: %v", after.GetState(), after.GetStartedAt(), before.GetStartedAt(), err)
		}
		if l := leftOf(t, c, kept); len(l) < 3 {
			t.Errorf("of the pod that was kept there are %q", l)
		}
	})
}

// forget takes the records from a daemon that has what they are of.
func forget(t *testing.T, c *containerdtest.Containerd, ids ...string) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+c.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "containerd-namespace", "k8s.io")
	for i, id := range ids {
		if _, err := containers.NewContainersClient(conn).Delete(ctx, &containers.DeleteContainerRequest{ID: id}); err != nil {
			t.Fatal(err)
		}
		if i == len(ids)-1 && c.Major() > 1 {
			if _, err := sandboxes.NewStoreClient(conn).Delete(ctx, &sandboxes.StoreDeleteRequest{SandboxID: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// leftOf are directories, control groups and processes that have a container's ID in their names.
func leftOf(t *testing.T, c *containerdtest.Containerd, id string) (left []string) {
	t.Helper()
	for _, pattern := range []string{
		c.Dir + "/s/state/*/k8s.io/*" + id, c.Dir + "/s/state/*/*/" + id, c.Dir + "/r/root/*/k8s.io/*" + id, c.Dir + "/s/runc/k8s.io/" + id,
		"/sys/fs/cgroup" + c.CgroupParent + "/*/" + id, "/sys/fs/cgroup/*" + c.CgroupParent + "/*/" + id,
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if raw, err := os.ReadFile(file); err == nil && strings.Contains(string(raw), id) {
			left = append(left, string(raw))
		}
	}
	return left
}

func netns(t *testing.T, c *containerdtest.Containerd) int {
	t.Helper()
	all, err := filepath.Glob(c.Dir + "/s/state/*/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func veths(t *testing.T, c *containerdtest.Containerd) (n int) {
	t.Helper()
	err := c.InNetns(func() error {
		all, err := net.Interfaces()
		n = len(all) - 1 // loopback
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
