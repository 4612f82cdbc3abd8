package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/backend"
	"github.com/petrelrun/petrel/wasmrt/shim/output"
	"github.com/petrelrun/petrel/wasmrt/shim/tasks"
)

// deleteTime bounds delete: containerd gives it five seconds.
const deleteTime = 4500 * time.Millisecond

// delete removes what is left of a container. containerd calls it after each one; most often there is nothing left.
func (m *Main) delete(ctx context.Context, p *place, c *call) error {
	if c.id == "" {
		return errors.New("delete: an id is required")
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	bundle := c.bundle
	if bundle == "" {
		var err error
		if bundle, err = m.Getwd(); err != nil {
			return fmt.Errorf("find bundle: %w", err)
		}
	}
	socket := daemonOf(bundle, p)
	gone, err := deleteTask(ctx, socket, c.id)
	if gone {
		err = m.deleteLeft(ctx, p, socket, c.id)
	}
	if err != nil {
		return err
	}
	return m.deleted(timestamppb.Now())
}

// daemonOf answers the socket of the daemon that a bundle was started with, which may be of an earlier program.
func daemonOf(bundle string, p *place) string {
	raw, err := os.ReadFile(filepath.Join(bundle, addressFile))
	if socket, ok := strings.CutPrefix(string(raw), "unix://"); err == nil && ok {
		return socket
	}
	return p.socket()
}

// deleteTask has the daemon delete a task. gone says that there is no daemon.
func deleteTask(ctx context.Context, socket, id string) (gone bool, err error) {
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", socket)
	if err != nil {
		return true, nil
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	service := taskapi.NewTTRPCTaskClient(client)
	if _, err = service.Kill(ctx, &taskapi.KillRequest{ID: id, Signal: uint32(unix.SIGKILL)}); err == nil {
		if _, err = service.Wait(ctx, &taskapi.WaitRequest{ID: id}); err == nil {
			_, err = service.Delete(ctx, &taskapi.DeleteRequest{ID: id})
		}
	} else if status.Code(err) == codes.NotFound { // it has ended, or is not known
		_, err = service.Delete(ctx, &taskapi.DeleteRequest{ID: id})
	}
	switch {
	case err == nil || status.Code(err) == codes.NotFound:
		return false, nil
	case errors.Is(err, ttrpc.ErrClosed):
		return true, nil
	}
	return false, fmt.Errorf("delete %s: %w", id, err)
}

// deleteLeft removes from the runtime what a daemon that died had there for a container.
func (m *Main) deleteLeft(ctx context.Context, p *place, socket, id string) error {
	if !reachable(ctx, p.runtime()) {
		return nil // the next daemon removes it, together with the runtime that it starts
	}
	end, err := output.Drain(filepath.Join(filepath.Dir(socket), outputDir, filepath.Base(id)))
	if err != nil {
		return err
	}
	conn, err := backend.Dial(p.runtime())
	if err != nil {
		return errors.Join(err, end())
	}
	defer conn.Close()
	err = remove(ctx, runtimev1.NewRuntimeServiceClient(conn), map[string]string{tasks.LabelTask: id}, func(map[string]string) bool { return true })
	return errors.Join(err, end())
}

// removeDead removes the sandboxes of daemons that do not live any more.
func removeDead(ctx context.Context, runtime runtimev1.RuntimeServiceClient, p *place) error {
	dead := map[string]bool{p.key: true} // who asks holds its own lock, and has made nothing yet
	return remove(ctx, runtime, nil, func(labels map[string]string) bool {
		owner := labels[tasks.LabelOwner]
		if owner == "" || owner != filepath.Base(owner) {
			return false
		}
		if _, known := dead[owner]; !known {
			release, held, err := take(p.lockOf(owner), false)
			if err == nil && !held {
				release()
			}
			dead[owner] = !held && (err == nil || errors.Is(err, os.ErrNotExist))
		}
		return dead[owner]
	})
}

// remove removes the containers and sandboxes with labels that are chosen.
func remove(ctx context.Context, runtime runtimev1.RuntimeServiceClient, labels map[string]string, chosen func(map[string]string) bool) error {
	var errs []error
	containers, err := runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{Filter: &runtimev1.ContainerFilter{LabelSelector: labels}})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.GetContainers() {
		if chosen(c.GetLabels()) {
			_, err := runtime.RemoveContainer(ctx, &runtimev1.RemoveContainerRequest{ContainerId: c.GetId()})
			errs = append(errs, err)
		}
	}
	pods, err := runtime.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{Filter: &runtimev1.PodSandboxFilter{LabelSelector: labels}})
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	for _, pod := range pods.GetItems() {
		if chosen(pod.GetLabels()) {
			_, err := runtime.RemovePodSandbox(ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: pod.GetId()})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
