package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestMembers(t *testing.T) {
	admin := authenticated("admin", "", []string{GroupMasters})
	node := authenticated(NodeUser("n1"), "", []string{GroupNodes})
	token := authenticated("system:bootstrap:aaaaaa", "", []string{GroupBootstrappers})
	other := authenticated("jane", "", []string{"people"})
	half := authenticated("n1", "", []string{GroupNodes}) // in the group, without a node's name

	res := func(verb, resource, name string) Attributes {
		resource, sub, _ := strings.Cut(resource, "/")
		a := Attributes{Verb: verb, Version: "v1", Resource: resource, Subresource: sub, Name: name, Path: "/x"}
		switch resource {
		case csrs:
			a.Group = "certificates.k8s.io"
		case "selfsubjectreviews":
			a.Group = "authentication.k8s.io"
		case "leases":
			a.Namespace = "kube-node-lease"
		case "pods", "secrets", "configmaps", "persistentvolumeclaims", "events", "services":
			a.Namespace = "default"
		}
		return a
	}
	path := func(verb, path string) Attributes { return Attributes{Verb: verb, Path: path} }
	type list []Attributes
	tests := []struct {
		user      *User
		may, cant list
	}{
		{admin, list{res("delete", "nodes", "n2"), path("post", "/v1/apps/x"), path("put", "/v2/x/manifests/y")}, nil},
		{anonymous, list{path("get", "/healthz"), path("head", "/livez"), path("get", "/readyz/store"), path("get", "/version")},
			list{path("get", "/api"), path("get", "/metrics"), path("get", "/v2/"), path("post", "/healthz"), res("get", "pods", "p"), res("create", csrs, ""), res("create", "selfsubjectreviews", "")}},
		{token, list{res("create", csrs, ""), res("get", csrs, "x"), res("list", csrs, ""), res("watch", csrs, ""), path("get", "/readyz")},
			list{res("update", csrs, "x"), res("update", csrs+"/approval", "x"), res("update", csrs+"/status", "x"), res("delete", csrs, "x"), res("get", "nodes", "n1"), res("create", "nodes", ""),
				res("get", "secrets", "s"), res("list", "pods", ""), path("get", "/api"), path("get", "/v2/"), path("get", "/v1/apps"), path("get", "/metrics"), res("create", "selfsubjectreviews", "")}},
		{node, list{res("get", "nodes", "n2"), res("create", "nodes", ""), res("patch", "nodes/status", "n1"), res("update", "nodes", "n1"), res("watch", "pods", ""), res("patch", "pods/status", "p"),
			res("create", "pods", ""), res("delete", "pods", "p"), res("get", "secrets", "mine"), res("get", "configmaps", "mine"), res("watch", "configmaps", "mine"), res("get", "persistentvolumeclaims", "mine"), res("watch", "persistentvolumes", ""), res("create", "csinodes", ""), res("update", "csinodes", "n1"), res("get", "csidrivers", "d"), res("get", "volumeattachments", "a"), res("patch", "persistentvolumes", "v"), res("list", "secrets", "mine"), res("create", "events", ""), res("update", "leases", "n1"), res("create", "leases", ""),
			res("list", "services", ""), res("watch", "endpointslices", ""), res("watch", "networkpolicies", ""), res("get", "runtimeclasses", "fast"), res("create", csrs, ""), path("get", "/v2/default/x/blobs/sha256:0"), path("head", "/v2/x"),
			path("get", "/api"), path("get", "/openapi/v3"), res("create", "selfsubjectreviews", "")},
			list{res("patch", "nodes/status", "n2"), res("delete", "nodes", "n1"), res("update", "leases", "n2"), res("list", "secrets", ""), res("get", "secrets", "theirs"), res("watch", "configmaps", ""), res("get", "persistentvolumeclaims", "theirs"), res("watch", "persistentvolumeclaims", "mine"), res("update", "persistentvolumes", "v"), res("create", "persistentvolumes", ""), res("update", "csinodes", "n2"), res("delete", "csinodes", "n1"), res("update", "csidrivers", "d"), res("create", "volumeattachments", ""), res("list", "volumeattachments", ""), res("update", "volumeattachments/status", "a"), res("patch", "persistentvolumes/status", "v"), res("watch", "secrets", "theirs"),
				{Verb: "list", Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods", Path: "/x"},
				res("create", "pods/binding", "p"), res("get", "pods/log", "p"), res("deletecollection", "pods", ""), res("update", "services", "s"), res("update", "runtimeclasses", "fast"), res("create", "deployments", ""),
				res("update", csrs+"/approval", "x"), res("get", "apps", "x"), path("put", "/v2/x/manifests/y"), path("post", "/v1/apps"), path("get", "/v1/apps"), path("get", "/metrics"),
				{Verb: "update", Resource: "leases", Name: "n1", Namespace: "default"}}},
		{other, list{path("get", "/apis/apps/v1"), path("get", "/version"), res("create", "selfsubjectreviews", "")},
			list{res("get", "pods", "p"), path("get", "/v1/apps"), path("get", "/v2/"), path("get", "/metrics"), path("post", "/api"), res("create", csrs, ""), path("get", "/apiserver")}},
		{half, nil, list{res("get", "pods", "p"), res("get", "nodes", "n1")}},
		{nil, nil, list{path("get", "/healthz"), res("get", "pods", "p")}},
	}
	m := &Members{NodeReads: func(_ context.Context, node, _, _, name string) bool { return node == "n1" && name == "mine" }}
	for _, tt := range tests {
		for _, a := range tt.may {
			a.User = tt.user
			if err := m.Authorize(context.Background(), &a); err != nil {
				t.Errorf("%+v %s %s/%s %s%s: %v", tt.user, a.Verb, a.Resource, a.Subresource, a.Name, a.Path, err)
			}
		}
		for _, a := range tt.cant {
			a.User = tt.user
			err := m.Authorize(context.Background(), &a)
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("%+v may %s %s/%s %s %s", tt.user, a.Verb, a.Resource, a.Subresource, a.Name, a.Path)
				continue
			}
			want := http.StatusForbidden
			if tt.user == nil || tt.user == anonymous {
				want = http.StatusUnauthorized
			}
			if refusal.Status != want {
				t.Errorf("%+v: %d, want %d", tt.user, refusal.Status, want)
			}
		}
	}
	deny := res("get", "secrets", "mine")
	deny.User = node
	if (&Members{}).Authorize(context.Background(), &deny) == nil {
		t.Error("a node reads secrets without anybody who knows its pods")
	}
}
