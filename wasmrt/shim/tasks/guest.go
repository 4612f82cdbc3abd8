package tasks

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
	"github.com/petrelrun/petrel/wasmrt/shim/output"
)

// createGuest makes the runtime's container.
func (s *Service) createGuest(ctx context.Context, t *task, r *taskapi.CreateTaskRequest, config *bundle.Config) error {
	module, err := s.importModule(ctx, t, r, config)
	if err != nil {
		return err
	}
	t.module = module
	if t.relay, err = output.Open(s.outputDir(t), r.Stdout, r.Stderr); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	response, err := s.cfg.Runtime.CreateContainer(ctx, &runtimev1.CreateContainerRequest{PodSandboxId: t.podID, Config: s.guestConfig(t, config)})
	if err != nil {
		return wrap(err, "create container")
	}
	t.guestID = response.ContainerId
	return nil
}

// importModule makes the container's module present in the runtime: a file of the image, or the image itself when it is
// an artifact.
func (s *Service) importModule(ctx context.Context, t *task, r *taskapi.CreateTaskRequest, config *bundle.Config) (module string, err error) {
	var mounts []bundle.RootMount
	for _, m := range r.Rootfs {
		mounts = append(mounts, bundle.RootMount{Type: m.Type, Source: m.Source, Options: m.Options})
	}
	root := filepath.Join(r.Bundle, "rootfs")
	missing := error(nil)
	err = bundle.Mounted(root, mounts, func() error {
		f, err := bundle.OpenModule(root, config)
		if errors.Is(err, bundle.ErrNoModule) {
			missing = err
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		module, err = s.modules.use(ctx, f)
		return err
	})
	if err == nil && missing != nil {
		module, err = s.importArtifact(ctx, t, missing)
	}
	if err != nil && status.Code(err) == codes.Unknown {
		err = status.Error(codes.InvalidArgument, err.Error())
	}
	return module, err
}

// importArtifact looks for a module where containerd keeps images that have no file system. Without any the first error
// stays, which says what the image lacks.
func (s *Service) importArtifact(ctx context.Context, t *task, missing error) (string, error) {
	f, err := s.cfg.Artifacts.Open(ctx, t.id)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "%v, and as an artifact: %v", missing, err)
	}
	defer f.Close()
	return s.modules.use(ctx, f)
}

// guestConfig says in the CRI's words what the bundle's configuration says.
func (s *Service) guestConfig(t *task, config *bundle.Config) *runtimev1.ContainerConfig {
	s.mu.Lock()
	s.attempts++
	attempt := s.attempts
	s.mu.Unlock()
	c := &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: orElse(config.Name, t.id), Attempt: attempt},
		Image:    &runtimev1.ImageSpec{Image: t.module, UserSpecifiedImage: config.Image},
		Command:  config.Args[:1], Args: config.Args[1:], WorkingDir: config.Dir,
		Labels: map[string]string{LabelOwner: s.cfg.Owner, LabelTask: t.id}, Annotations: runtimeAnnotations(config),
		LogPath: filepath.Join(t.id, output.LogName),
		Linux:   &runtimev1.LinuxContainerConfig{Resources: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: config.MemoryLimit}},
	}
	if ports := config.Annotations[annotationPorts]; ports != "" {
		c.Annotations[annotationPorts] = ports
	}
	for _, v := range config.Env {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			c.Envs = append(c.Envs, &runtimev1.KeyValue{Key: name, Value: []byte(value)})
		}
	}
	for _, m := range config.GuestMounts() {
		c.Mounts = append(c.Mounts, &runtimev1.Mount{HostPath: m.Source, ContainerPath: m.Destination, Readonly: m.ReadOnly})
	}
	return c
}
