package main

import (
	"slices"
	"strings"
)

// served are the groups and versions, with their resources and subresources, that the documents keep. A test of
// controlplane/apiserver holds it to the routes.
var served = map[string]map[string][]string{
	"api/v1": {
		"configmaps":             nil,
		"events":                 nil,
		"namespaces":             {"finalize", "status"},
		"nodes":                  {"proxy", "status"},
		"persistentvolumeclaims": {"status"},
		"persistentvolumes":      {"status"},
		"pods":                   {"attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status"},
		"secrets":                nil,
		"services":               {"proxy", "status"},
	},
	"apis/apps/v1":                  {"deployments": {"scale", "status"}, "replicasets": {"scale", "status"}},
	"apis/batch/v1":                 {"jobs": {"status"}},
	"apis/authentication.k8s.io/v1": {"selfsubjectreviews": nil},
	"apis/certificates.k8s.io/v1":   {"certificatesigningrequests": {"approval", "status"}},
	"apis/coordination.k8s.io/v1":   {"leases": nil},
	"apis/discovery.k8s.io/v1":      {"endpointslices": nil},
	"apis/networking.k8s.io/v1":     {"networkpolicies": nil},
	"apis/node.k8s.io/v1":           {"runtimeclasses": nil},
	"apis/storage.k8s.io/v1":        {"csidrivers": nil, "csinodes": nil, "storageclasses": nil, "volumeattachments": {"status"}},
}

// documents are the version 3 documents by the path they are served at.
func documents() []string {
	keep := []string{"api", "apis", "version"}
	for gv := range served {
		keep = append(keep, gv)
		if group, _, ok := strings.Cut(strings.TrimPrefix(gv, "apis/"), "/"); ok && group != "api" {
			keep = append(keep, "apis/"+group)
		}
	}
	slices.Sort(keep)
	return slices.Compact(keep)
}

// keeps tells whether a path of the API is served.
func keeps(path string) bool {
	for gv, resources := range served {
		rest, ok := strings.CutPrefix(path, "/"+gv+"/")
		if !ok {
			continue
		}
		if rest == "" {
			return true // the list of resources
		}
		rest = strings.TrimPrefix(rest, "namespaces/{namespace}/")
		parts := strings.Split(rest, "/")
		subs, ok := resources[parts[0]]
		switch {
		case !ok:
			return false
		case len(parts) == 3, len(parts) == 4 && parts[3] == "{path}":
			return slices.Contains(subs, parts[2])
		}
		return len(parts) < 3
	}
	path = strings.Trim(path, "/")
	return slices.Contains(documents(), path) && served[path] == nil
}
