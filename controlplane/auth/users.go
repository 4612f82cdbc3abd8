package auth

import (
	"slices"
	"strings"
)

// Names and groups, by Kubernetes' conventions.
const (
	AnonymousName = "system:anonymous"

	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	// GroupNodes are the nodes' workers; GroupBootstrappers are machines that show a bootstrap token.
	GroupNodes         = "system:nodes"
	GroupBootstrappers = "system:bootstrappers"
	// GroupAPIServers are API servers as nodes see them, which they let read logs.
	GroupAPIServers = "petrel:apiservers"

	nodePrefix      = "system:node:"
	bootstrapPrefix = "system:bootstrap:"
)

var anonymous = &User{Name: AnonymousName, Groups: []string{GroupUnauthenticated}}

// Is tells whether the user is in the group.
func (u *User) Is(group string) bool { return u != nil && slices.Contains(u.Groups, group) }

// Node is the name of the node that the user is.
func (u *User) Node() (name string, ok bool) {
	if !u.Is(GroupNodes) {
		return "", false
	}
	name, ok = strings.CutPrefix(u.Name, nodePrefix)
	return name, ok && name != ""
}

// NodeUser is the user that a node is.
func NodeUser(node string) string { return nodePrefix + node }

// authenticated makes a user who has shown a credential; groups of others are not his to claim.
func authenticated(name, uid string, groups []string) *User {
	u := &User{Name: name, UID: uid}
	for _, g := range append(slices.Clone(groups), GroupAuthenticated) {
		if g != GroupUnauthenticated && !slices.Contains(u.Groups, g) {
			u.Groups = append(u.Groups, g)
		}
	}
	return u
}

// openPaths may be read by whoever reaches the API: what load balancers and people look at to see whether it lives.
var openPaths = []string{"/healthz", "/readyz", "/livez", "/version"}

// discoveryPaths tell what is served; every user who has a credential may read them.
var discoveryPaths = []string{"/api", "/apis", "/openapi"}

func isBelow(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

func reads(method string) bool { return method == "get" || method == "head" }
