package auth

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// Members is the Authorizer until roles are served: system:masters may do everything, a node what its worker needs,
// a bootstrap token nothing but join, and others look who they are.
type Members struct {
	// NodeReads tells whether a node has a pod that uses the Secret, ConfigMap or claim; nil: none has.
	NodeReads func(ctx context.Context, node, resource, namespace, name string) bool
}

const csrs = "certificatesigningrequests"

// Authorize decides whether a request may go on.
func (m *Members) Authorize(ctx context.Context, a *Attributes) error {
	u := a.User
	if u == nil {
		return unauthorized("nobody asks")
	}
	if u.Is(GroupMasters) {
		return nil
	}
	if !a.IsResource() && reads(a.Verb) && isBelow(a.Path, openPaths) {
		return nil
	}
	if u.Is(GroupUnauthenticated) {
		return unauthorized("only whether the API lives may be asked without a credential")
	}
	node, isNode := u.Node()
	switch {
	case u.Is(GroupBootstrappers):
		if joins(a) {
			return nil
		}
		return denied(a, "a bootstrap token is for joining: it may create and read CertificateSigningRequests and nothing else")
	case !a.IsResource() && reads(a.Verb) && isBelow(a.Path, discoveryPaths):
		return nil
	case a.Group == "authentication.k8s.io" && a.Verb == "create":
		return nil // who am I
	case isNode && m.nodeMay(ctx, node, a):
		return nil
	case isNode:
		return denied(a, "a node may read what concerns its pods and write their status, its own Node and Lease, and events")
	}
	return denied(a, "there are no roles yet: only the group system:masters, and nodes, may do something")
}

// joins tells whether a request is one by which a node joins.
func joins(a *Attributes) bool {
	return a.Resource == csrs && a.Subresource == "" && slices.Contains([]string{"create", "get", "list", "watch"}, a.Verb)
}

// nodeMay tells whether a node may. Which pod is whose is held by admission, where the object is known.
func (m *Members) nodeMay(ctx context.Context, node string, a *Attributes) bool {
	if !a.IsResource() {
		// Modules are pulled from the registry beside the API.
		return reads(a.Verb) && isBelow(a.Path, []string{"/v2"})
	}
	if a.Group == "metrics.k8s.io" { // nodes and pods under the same names, measured for whoever asks
		return false
	}
	see := a.Verb == "get" || a.Verb == "list" || a.Verb == "watch"
	write := a.Verb == "update" || a.Verb == "patch"
	plain, status := a.Subresource == "", a.Subresource == "status"
	switch a.Resource {
	case "nodes":
		return plain && (see || a.Verb == "create") || (plain || status) && write && a.Name == node
	case "leases":
		return plain && a.Namespace == "kube-node-lease" && (a.Verb == "create" || (write || a.Verb == "get" || a.Verb == "delete") && a.Name == node)
	case "pods":
		return plain && (see || write || a.Verb == "create" || a.Verb == "delete") || status && (write || a.Verb == "get")
	case "services", "endpointslices", "namespaces", "networkpolicies", "runtimeclasses":
		return plain && see
	case "persistentvolumeclaims":
		return plain && a.Verb == "get" && m.NodeReads != nil && m.NodeReads(ctx, node, a.Resource, a.Namespace, a.Name)
	case "csinodes":
		return plain && (a.Verb == "create" || (a.Verb == "get" || write) && a.Name == node)
	case "csidrivers":
		return plain && see
	case "volumeattachments":
		return plain && a.Verb == "get"
	case "persistentvolumes": // what may be written of them is held by admission
		return plain && (see || a.Verb == "patch")
	case "configmaps", "secrets":
		return plain && see && a.Name != "" && m.NodeReads != nil && m.NodeReads(ctx, node, a.Resource, a.Namespace, a.Name)
	case "events":
		return plain && (a.Verb == "create" || write)
	case csrs:
		return plain && (see || a.Verb == "create")
	}
	return false
}

// denied words a refusal as Kubernetes' tools expect it.
func denied(a *Attributes, why string) error {
	what := fmt.Sprintf("cannot %s path %q", a.Verb, a.Path)
	if a.IsResource() {
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		what = fmt.Sprintf("cannot %s resource %q in API group %q", a.Verb, resource, a.Group)
		if a.Namespace != "" {
			what += fmt.Sprintf(" in the namespace %q", a.Namespace)
		}
	}
	return &Refusal{Status: http.StatusForbidden, Message: fmt.Sprintf("forbidden: User %q %s: %s", a.User.Name, what, why)}
}
