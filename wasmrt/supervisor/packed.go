package supervisor

import (
	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// packed is a configuration as the client sent it, in the bytes of its message. Unpacked one takes five times as much
// memory, and a node has twice as many of them as pods, which are looked at when somebody lists or something happens.
type packed []byte

func pack(m proto.Message) (packed, error) { return proto.Marshal(m) }

// sandboxConfig unpacks a sandbox's. It is not to be changed.
func (p packed) sandboxConfig() *runtimev1.PodSandboxConfig {
	c := &runtimev1.PodSandboxConfig{}
	_ = proto.Unmarshal(p, c) // these are the bytes that pack made
	return c
}

// containerConfig unpacks a container's.
func (p packed) containerConfig() *runtimev1.ContainerConfig {
	c := &runtimev1.ContainerConfig{}
	_ = proto.Unmarshal(p, c)
	return c
}
