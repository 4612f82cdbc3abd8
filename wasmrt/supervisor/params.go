package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

// containerParams says in the runner's words what the client wants. What a guest cannot have is refused; what would
// only restrict a process (users, capabilities, seccomp, read-only roots) is dropped, for a guest has none of it anyway.
func (s *Supervisor) containerParams(b *sandbox, config *runtimev1.ContainerConfig, img *image.Image) (*control.CreateParams, error) {
	if config.GetTty() {
		return nil, errors.New("a Wasm guest has no terminal: tty must be false")
	}
	if len(config.GetDevices()) > 0 || len(config.GetCDIDevices()) > 0 {
		return nil, errors.New("a Wasm guest has no devices")
	}
	pod := b.config.sandboxConfig()
	limits, err := readLimits(pod.GetAnnotations())
	if err != nil {
		return nil, err
	}
	ports, own, err := containerPorts(pod, config)
	if err != nil {
		return nil, err
	}
	mounts, err := guestMounts(config.GetMounts())
	if err != nil {
		return nil, err
	}
	dns, err := sandboxDNS(pod)
	if err != nil {
		return nil, err
	}
	log := logPath(pod, config)
	if log != "" {
		if err := s.allowed("the log", log); err != nil {
			return nil, err
		}
	}
	for _, m := range mounts {
		if err := s.allowed("the mount of", m.HostPath); err != nil {
			return nil, err
		}
	}
	return &control.CreateParams{
		ModulePath: s.images.ModulePath(img), Digest: img.Module,
		Args: arguments(config, img), Env: environment(config, img), Mounts: mounts, Ports: ports, OwnPorts: own,
		Hostname: pod.GetHostname(), MemoryLimit: memoryLimit(config.GetLinux().GetResources()), LogPath: log, DNS: dns, Limits: limits,
		Stdin: config.GetStdin(), StdinOnce: config.GetStdinOnce(),
	}, nil
}

func memoryLimit(r *runtimev1.LinuxContainerResources) uint64 {
	return uint64(max(0, r.GetMemoryLimitInBytes()))
}

// annotationPorts is where kubelets tell a container's own ports; a sandbox's mappings are those of all its containers.
const annotationPorts = "io.kubernetes.container.ports"

// containerPorts answers where a container is to listen, and whether that is said of the container itself.
func containerPorts(pod *runtimev1.PodSandboxConfig, config *runtimev1.ContainerConfig) (list []uint16, own bool, err error) {
	raw := config.GetAnnotations()[annotationPorts]
	if raw == "" {
		list, err = tcpPorts(pod.GetPortMappings())
		return list, false, err
	}
	var declared []struct {
		ContainerPort int32
		Protocol      string
	}
	if err := json.Unmarshal([]byte(raw), &declared); err != nil {
		return nil, false, fmt.Errorf("annotation %s: %w", annotationPorts, err)
	}
	var mappings []*runtimev1.PortMapping
	for _, p := range declared {
		if p.Protocol == "" || p.Protocol == "TCP" {
			mappings = append(mappings, &runtimev1.PortMapping{ContainerPort: p.ContainerPort})
		}
	}
	list, err = tcpPorts(mappings)
	return list, len(list) > 0, err
}

// tcpPorts answers where an HTTP guest is to listen. Ports of other protocols are nothing that it could serve.
func tcpPorts(mappings []*runtimev1.PortMapping) ([]uint16, error) {
	var ports []uint16
	for _, m := range mappings {
		if m.GetProtocol() != runtimev1.Protocol_TCP {
			continue
		}
		if p := m.GetContainerPort(); p < 1 || p > 65535 {
			return nil, fmt.Errorf("container port %d is none", p)
		}
		ports = append(ports, uint16(m.GetContainerPort()))
	}
	return ports, nil
}

func guestMounts(mounts []*runtimev1.Mount) ([]control.Mount, error) {
	var out []control.Mount
	for _, m := range mounts {
		if m.GetImage().GetImage() != "" {
			return nil, fmt.Errorf("mount %s: images cannot be mounted", m.GetContainerPath())
		}
		if !path.IsAbs(m.GetContainerPath()) || !filepath.IsAbs(m.GetHostPath()) {
			return nil, fmt.Errorf("mount %s at %s: both paths must be absolute", m.GetHostPath(), m.GetContainerPath())
		}
		out = append(out, control.Mount{HostPath: m.GetHostPath(), GuestPath: path.Clean(m.GetContainerPath()), ReadOnly: m.GetReadonly()})
	}
	return out, nil
}

// arguments puts command and arguments together as Kubernetes defines it: what the container names overrides what the
// image does. A bare module has no name for its first argument: it gets that of its repository.
func arguments(config *runtimev1.ContainerConfig, img *image.Image) []string {
	command, args := config.GetCommand(), config.GetArgs()
	if len(command) == 0 {
		command = img.Entrypoint
		if len(args) == 0 {
			args = img.Cmd
		}
	}
	if len(command) == 0 && len(img.Cmd) > 0 { // an image whose Cmd is the module
		command = img.Cmd[:1]
		if len(config.GetArgs()) == 0 {
			args = img.Cmd[1:]
		}
	}
	if len(command) == 0 {
		command = []string{programName(img)}
	}
	return append(append([]string{}, command...), args...)
}

func programName(img *image.Image) string {
	for _, ref := range append(append([]string{}, img.RepoTags...), img.RepoDigests...) {
		repo, _, _ := strings.Cut(ref, "@")
		base := path.Base(repo)
		if name, _, _ := strings.Cut(base, ":"); name != "" {
			return name
		}
	}
	return "main"
}

// environment lists the later over the earlier: the image's, the container's.
func environment(config *runtimev1.ContainerConfig, img *image.Image) []string {
	env := append([]string{}, img.Env...)
	dir := config.GetWorkingDir()
	if dir == "" {
		dir = img.WorkingDir
	}
	if dir != "" { // WASI has no working directory; guests' libraries take this for it
		env = append(env, "PWD="+dir)
	}
	for _, e := range config.GetEnvs() {
		env = append(env, e.GetKey()+"="+string(e.GetValue()))
	}
	return env
}

func logPath(pod *runtimev1.PodSandboxConfig, config *runtimev1.ContainerConfig) string {
	if pod.GetLogDirectory() == "" || config.GetLogPath() == "" {
		return ""
	}
	return filepath.Join(pod.GetLogDirectory(), config.GetLogPath())
}
