package supervisor

import (
	"fmt"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

func TestArguments(t *testing.T) {
	bare := &image.Image{RepoDigests: []string{"registry.test/ns/app@sha256:00"}}
	entry := &image.Image{Entrypoint: []string{"/e", "1"}, Cmd: []string{"c"}}
	cmd := &image.Image{Cmd: []string{"/m.wasm", "c"}}
	tests := []struct {
		img           *image.Image
		command, args []string
		want          string
	}{
		{bare, nil, nil, "[app]"},
		{bare, nil, []string{"a"}, "[app a]"},
		{bare, []string{"x"}, nil, "[x]"},
		{&image.Image{RepoTags: []string{"127.0.0.1:5000/ns/tool:v1"}}, nil, nil, "[tool]"},
		{&image.Image{}, nil, nil, "[main]"},
		{entry, nil, nil, "[/e 1 c]"},
		{entry, nil, []string{"a"}, "[/e 1 a]"},
		{entry, []string{"x"}, nil, "[x]"},
		{entry, []string{"x"}, []string{"a"}, "[x a]"},
		{cmd, nil, nil, "[/m.wasm c]"},
		{cmd, nil, []string{"a"}, "[/m.wasm a]"},
	}
	for _, tt := range tests {
		got := arguments(&runtimev1.ContainerConfig{Command: tt.command, Args: tt.args}, tt.img)
		if fmt.Sprint(got) != tt.want {
			t.Errorf("command %v, args %v of %+v: %v, want %s", tt.command, tt.args, tt.img, got, tt.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment(
		&runtimev1.ContainerConfig{Envs: []*runtimev1.KeyValue{{Key: "A", Value: []byte("2")}}},
		&image.Image{Env: []string{"A=1"}, WorkingDir: "/w"})
	if want := "[A=1 PWD=/w A=2]"; fmt.Sprint(got) != want {
		t.Errorf("environment %v, want %s", got, want)
	}
}

func TestPortsAndMounts(t *testing.T) {
	ports, err := tcpPorts([]*runtimev1.PortMapping{{ContainerPort: 80}, {ContainerPort: 53, Protocol: runtimev1.Protocol_UDP}, {ContainerPort: 8080, HostPort: 1}})
	if err != nil || fmt.Sprint(ports) != "[80 8080]" {
		t.Errorf("ports %v, %v", ports, err)
	}
	for _, bad := range []int32{0, -1, 65536} {
		if _, err := tcpPorts([]*runtimev1.PortMapping{{ContainerPort: bad}}); err == nil {
			t.Errorf("port %d was taken", bad)
		}
	}
	pod := &runtimev1.PodSandboxConfig{PortMappings: []*runtimev1.PortMapping{{ContainerPort: 80}, {ContainerPort: 81}}}
	for raw, want := range map[string]string{
		"": "[80 81] false <nil>", `[{"name":"x","containerPort":81,"protocol":"TCP"},{"containerPort":53,"protocol":"UDP"}]`: "[81] true <nil>", `[]`: "[] false <nil>",
	} {
		list, own, err := containerPorts(pod, &runtimev1.ContainerConfig{Annotations: map[string]string{annotationPorts: raw}})
		if got := fmt.Sprint(list, own, err); got != want {
			t.Errorf("ports of %q: %s, want %s", raw, got, want)
		}
	}
	for _, raw := range []string{"{", `[{"containerPort":70000}]`} {
		if _, _, err := containerPorts(pod, &runtimev1.ContainerConfig{Annotations: map[string]string{annotationPorts: raw}}); err == nil {
			t.Errorf("ports %q were taken", raw)
		}
	}
	mounts, err := guestMounts([]*runtimev1.Mount{{ContainerPath: "/a/../b/", HostPath: "/h", Readonly: true}})
	if err != nil || mounts[0] != (control.Mount{HostPath: "/h", GuestPath: "/b", ReadOnly: true}) {
		t.Errorf("mounts %v, %v", mounts, err)
	}
	for _, bad := range []*runtimev1.Mount{{ContainerPath: "a", HostPath: "/h"}, {ContainerPath: "/a", HostPath: "h"}, {ContainerPath: "/a", Image: &runtimev1.ImageSpec{Image: "x"}}} {
		if _, err := guestMounts([]*runtimev1.Mount{bad}); err == nil {
			t.Errorf("mount %v was taken", bad)
		}
	}
}
