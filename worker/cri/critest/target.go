package critest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// Target is the runtime under test.
type Target struct {
	Client *cri.Client
	// TaskImage is a command that obeys its arguments in pairs: print, complain, env, sleep (milliseconds), exit.
	TaskImage string
	// ServerImage serves HTTP on the sandbox's container ports and answers GET / with 200.
	ServerImage string
	// PodIPs is where sandboxes get their addresses from, by annotation; each is used once.
	PodIPs netip.Prefix
}

// patience bounds every wait of the suite; a cold compile of a large module is within it.
const patience = 60 * time.Second

// sequence makes names and addresses that no other test of this process used.
var sequence atomic.Uint32

type suite struct {
	*testing.T
	Target
	ctx context.Context
}

// Run runs the whole suite.
func Run(t *testing.T, target Target) {
	for name, test := range map[string]func(*suite){
		"Ready":                     testReady,
		"SandboxLifecycle":          testSandboxLifecycle,
		"SandboxFilters":            testSandboxFilters,
		"SandboxRemovesContainers":  testSandboxRemovesContainers,
		"ContainerLifecycle":        testContainerLifecycle,
		"ContainerIdempotence":      testContainerIdempotence,
		"ContainerFilters":          testContainerFilters,
		"ContainerRefusals":         testContainerRefusals,
		"ContainerExitCodes":        testExitCodes,
		"ContainerEnvironment":      testEnvironment,
		"ContainerRestartInSandbox": testRestartInSandbox,
		"ContainerLogs":             testLogs,
		"ContainerServes":           testServes,
		"ContainerEvents":           testEvents,
		"Images":                    testImages,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			test(&suite{T: t, Target: target, ctx: ctx})
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
	n := sequence.Add(1)
	p := &pod{ip: s.podIP(n)}
	name := fmt.Sprintf("critest-%d-%d", time.Now().UnixNano(), n)
	p.config = &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: name, Namespace: "critest", Uid: "uid-" + name, Attempt: 1},
		Hostname:     name,
		LogDirectory: s.TempDir(),
		Labels:       map[string]string{"test": s.key(), "pod": name},
		Annotations:  map[string]string{"petrel.run/pod-ip": p.ip, "kept": "as it is"},
		Linux:        &runtimev1.LinuxPodSandboxConfig{},
	}
	for _, port := range ports {
		p.config.PortMappings = append(p.config.PortMappings, &runtimev1.PortMapping{ContainerPort: port, Protocol: runtimev1.Protocol_TCP})
	}
	id, err := s.Client.RunPodSandbox(s.ctx, p.config, "")
	s.must(err)
	p.id = id
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Client.RemovePodSandbox(ctx, id); err != nil {
			s.Error(err)
		}
	})
	return p
}

func (s *suite) key() string { return fmt.Sprintf("t%p", s.T) }

// create makes a container that has not started.
func (s *suite) create(p *pod, image, name string, attempt uint32, args ...string) string {
	s.Helper()
	_, err := s.Client.PullImage(s.ctx, &runtimev1.ImageSpec{Image: image}, p.config)
	s.must(err)
	id, err := s.Client.CreateContainer(s.ctx, p.id, s.containerConfig(p, image, name, attempt, args...), p.config)
	s.must(err)
	return id
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
		Linux:       &runtimev1.LinuxContainerConfig{Resources: &runtimev1.LinuxContainerResources{}},
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
