package runtimes

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Names of the runtimes, which IDs begin with.
const (
	Wasm       = "petrel-wasmrt"
	Containerd = "containerd"
)

// HandlerWasm is the handler, and the RuntimeClass, of Wasm pods.
const HandlerWasm = "wasm"

// Kind says which runtime a container, or a pod, is for.
type Kind string

// The kinds. Both is for pods alone.
const (
	KindWasm Kind = "wasm"
	KindOCI  Kind = "oci"
	KindBoth Kind = "both"
)

const (
	// AnnotationKind tells RunPodSandbox and CreateContainer the Kind; without it the handler and the sandbox do.
	AnnotationKind = "petrel.run/container-kind"
	// AnnotationNetns tells petrel-wasmrt which network namespace a sandbox is in.
	AnnotationNetns = "petrel.run/netns"
	// labelKind marks both sandboxes of a pod of both kinds; labelBeside names containerd's on the other.
	labelKind   = "petrel.run/container-kind"
	labelBeside = "petrel.run/beside"
)

const separator = "://"

func join(runtime, id string) string { return runtime + separator + id }

// split takes an ID apart. What has no known runtime is not found anywhere.
func split(id string) (runtime, inner string, err error) {
	runtime, inner, ok := strings.Cut(id, separator)
	if !ok || inner == "" || runtime != Wasm && runtime != Containerd {
		return "", "", fmt.Errorf("ID %q: %w", id, status.Error(codes.NotFound, "no runtime of this node has it"))
	}
	return runtime, inner, nil
}
