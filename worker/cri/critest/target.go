package critest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// Target is the runtime under test, and what it is given to work with.
type Target struct {
	Client *cri.Client
	// Endpoint is the runtime's socket, for calls that the worker has no use for.
	Endpoint string
	// TaskImage is a command that obeys its arguments in pairs: print, complain, env, sleep (milliseconds), exit.
	TaskImage string
	// ServerImage serves HTTP on port 8642 and answers GET / with 200.
	ServerImage string
	// PodIPs is where sandboxes get their addresses from, by annotation; each is used once. Invalid: the runtime's network
	// gives them.
	PodIPs netip.Prefix
	// Dial reaches pods' addresses; nil: they are reached from here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Prepare changes what each sandbox is asked for; nil: nothing.
	Prepare func(*runtimev1.PodSandboxConfig)
	// Handler is what sandboxes are run with.
	Handler string
	// ShellImage has a shell and the usual commands, for runtimes whose containers are processes; empty: this one's are
	// not, and what only processes have is not tested.
	ShellImage string
	// Registry is where images are pulled from; nil: the images above are there already, and pulling is not tested.
	Registry *Registry
	// Users are images that are there, with the users that they name; none: this runtime's images have no users.
	Users []ImageUser
	// Known are the tests that the runtime is known not to pass, as Area/Test, and why: they are skipped with that.
	Known map[string]string
}

// Registry is a registry that the runtime reaches, with images that nothing else uses.
type Registry struct {
	// Image, with the tag 1, has two names, the second one the name of another image's repository. With the tag latest it
	// is the same image.
	Image, Same string
	// Other is another image.
	Other string
	// Digest is the digest of the manifest of both.
	Digest string
	// Private needs Auth.
	Private string
	Auth    *runtimev1.AuthConfig
}

// patience bounds every wait of the suite; a cold compile of a large module is within it.
const patience = 60 * time.Second

// sequence makes names and addresses that no other test of this process used.
var sequence atomic.Uint32

type suite struct {
	*testing.T
	Target
	ctx    context.Context
	rt     runtimev1.RuntimeServiceClient
	images runtimev1.ImageServiceClient
}

// areas are the tests by what they are of. Those of processes are for runtimes that have some.
var areas = []struct {
	name  string
	tests map[string]func(*suite)
}{
	{"Sandbox", sandboxTests}, {"Container", containerTests}, {"Idempotence", idempotenceTests}, {"Image", imageTests}, {"Network", networkTests},
	{"Logs", logTests}, {"Events", eventTests}, {"Stats", statsTests}, {"Process", processTests}, {"Mounts", mountTests}, {"Security", securityTests},
	{"Streaming", streamingTests},
}

// ofProcesses are the areas that only processes have.
var ofProcesses = map[string]bool{"Process": true, "Mounts": true, "Security": true, "Streaming": true}

// Run runs the whole suite.
func Run(t *testing.T, target Target) {
	conn, err := grpc.NewClient("unix://"+strings.TrimPrefix(target.Endpoint, "unix://"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if target.PodIPs.IsValid() {
		if err := target.Client.UpdatePodCIDR(t.Context(), target.PodIPs.String()); err != nil {
			t.Fatal(err)
		}
	}
	for _, area := range areas {
		if ofProcesses[area.name] && target.ShellImage == "" {
			continue
		}
		t.Run(area.name, func(t *testing.T) {
			for name, test := range area.tests {
				t.Run(name, func(t *testing.T) {
					if why := target.Known[area.name+"/"+name]; why != "" {
						t.Skip(why)
					}
					if area.name != "Image" { // whose tests have one registry's images between them
						t.Parallel()
					}
					ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
					defer cancel()
					test(&suite{T: t, Target: target, ctx: ctx, rt: runtimev1.NewRuntimeServiceClient(conn), images: runtimev1.NewImageServiceClient(conn)})
				})
			}
		})
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// podIP is the next unused address.
func (s *suite) podIP(n uint32) string {
	a := s.PodIPs.Masked().Addr().As4()
	a[2], a[3] = byte(n/200), byte(1+n%200)
	return netip.AddrFrom4(a).String()
}

type pod struct {
	id, ip string
	config *runtimev1.PodSandboxConfig
}

// sandbox makes a sandbox that is removed with the test. Its label test is the test's name.
func (s *suite) sandbox(ports ...int32) *pod {
	s.Helper()
	return s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		for _, port := range ports {
			c.PortMappings = append(c.PortMappings, &runtimev1.PortMapping{ContainerPort: port, Protocol: runtimev1.Protocol_TCP})
		}
	})
}

// sandboxLike makes one whose configuration was changed.
func (s *suite) sandboxLike(change func(*runtimev1.PodSandboxConfig)) *pod {
	s.Helper()
	p := &pod{config: s.podConfig()}
	if change != nil {
		change(p.config)
	}
	id, err := s.Client.RunPodSandbox(s.ctx, p.config, s.Handler)
	s.must(err)
	p.id = id
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := EndSandbox(ctx, s.Client, id); err != nil {
			s.Error(err)
		}
	})
	status, err := s.Client.PodSandboxStatus(s.ctx, id)
	s.must(err)
	p.ip = status.GetNetwork().GetIp()
	return p
}

// podConfig is what a sandbox with a name of its own is asked for.
func (s *suite) podConfig() *runtimev1.PodSandboxConfig {
	n := sequence.Add(1)
	name := fmt.Sprintf("critest-%d-%d", time.Now().UnixNano(), n)
	c := &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: name, Namespace: "critest", Uid: "uid-" + name, Attempt: 1},
		Hostname:     name,
		LogDirectory: s.TempDir(),
		Labels:       map[string]string{"test": s.key(), "pod": name},
		Annotations:  map[string]string{"kept": "as it is"},
		Linux:        &runtimev1.LinuxPodSandboxConfig{SecurityContext: &runtimev1.LinuxSandboxSecurityContext{NamespaceOptions: &runtimev1.NamespaceOption{}}},
	}
	if s.PodIPs.IsValid() {
		c.Annotations[annotationPodIP] = s.podIP(n)
	}
	if s.Prepare != nil {
		s.Prepare(c)
	}
	return c
}

// annotationPodIP is by which wasmrt is told a sandbox's address.
const annotationPodIP = "petrel.run/pod-ip"

func (s *suite) key() string { return fmt.Sprintf("t%p", s.T) }

// create makes a container that has not started.
func (s *suite) create(p *pod, image, name string, attempt uint32, args ...string) string {
	s.Helper()
	s.present(image)
	id, err := s.Client.CreateContainer(s.ctx, p.id, s.containerConfig(p, image, name, attempt, args...), p.config)
	s.must(err)
	return id
}

// present makes sure that an image is there.
func (s *suite) present(image string) {
	s.Helper()
	spec := &runtimev1.ImageSpec{Image: image}
	have, err := s.Client.ImageStatus(s.ctx, spec)
	if err == nil && have == nil {
		_, err = s.images.PullImage(s.ctx, &runtimev1.PullImageRequest{Image: spec})
	}
	s.must(err)
}

func (s *suite) containerConfig(p *pod, image, name string, attempt uint32, args ...string) *runtimev1.ContainerConfig {
	labels := maps.Clone(p.config.GetLabels())
	labels["container"] = name
	return &runtimev1.ContainerConfig{
		Metadata:    &runtimev1.ContainerMetadata{Name: name, Attempt: attempt},
		Image:       &runtimev1.ImageSpec{Image: image},
		Args:        args,
		Envs:        []*runtimev1.KeyValue{{Key: "GREETING", Value: []byte("héllo = world")}},
		Labels:      labels,
		Annotations: map[string]string{"restarts": "0"},
		LogPath:     fmt.Sprintf("%s/%d.log", name, attempt),
		Linux: &runtimev1.LinuxContainerConfig{Resources: &runtimev1.LinuxContainerResources{},
			SecurityContext: &runtimev1.LinuxContainerSecurityContext{NamespaceOptions: &runtimev1.NamespaceOption{}}},
	}
}

func (s *suite) start(p *pod, image, name string, attempt uint32, args ...string) string {
	s.Helper()
	id := s.create(p, image, name, attempt, args...)
	s.must(s.Client.StartContainer(s.ctx, id))
	return id
}

func (s *suite) status(id string) *runtimev1.ContainerStatus {
	s.Helper()
	status, _, err := s.Client.ContainerStatus(s.ctx, id, false)
	s.must(err)
	return status
}

// exited waits for the container's end.
func (s *suite) exited(id string) *runtimev1.ContainerStatus {
	s.Helper()
	var status *runtimev1.ContainerStatus
	s.eventually("the container's end", func() bool {
		status = s.status(id)
		return status.GetState() == runtimev1.ContainerState_CONTAINER_EXITED
	})
	return status
}

func (s *suite) eventually(what string, ok func() bool) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			s.Fatalf("waited %v for %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
