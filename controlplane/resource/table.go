package resource

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// names are what clients may call a resource, and which verbs and subresources it has.
type names struct {
	short      []string
	categories []string
	noneOf     []string // verbs that are not served
	subs       []Subresource
}

var (
	allVerbs    = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	objectVerbs = []string{"get", "patch", "update"}
	inAll       = []string{"all"}
)

func sub(name string, gvk schema.GroupVersionKind, verbs ...string) Subresource {
	return Subresource{Name: name, GVK: gvk, Verbs: verbs}
}

func status(kind schema.GroupVersionKind) Subresource {
	return sub(upstream.Status, kind, objectVerbs...)
}

func scale() Subresource {
	return sub("scale", scaleGVK, objectVerbs...)
}

// described by kind: the table proper.
func describe(gvk schema.GroupVersionKind) names {
	core := corev1.SchemeGroupVersion
	switch gvk.Kind {
	case "Namespace":
		return names{short: []string{"ns"}, noneOf: []string{"deletecollection"},
			subs: []Subresource{sub(upstream.Finalize, gvk, "update"), status(gvk)}}
	case "Node":
		return names{short: []string{"no"}, subs: []Subresource{
			sub("proxy", core.WithKind("NodeProxyOptions"), "get"),
			status(gvk),
		}}
	case "Pod":
		return names{short: []string{"po"}, categories: inAll, subs: []Subresource{
			sub("attach", core.WithKind("PodAttachOptions"), "create", "get"),
			sub("binding", core.WithKind("Binding"), "create"),
			sub(upstream.EphemeralContainers, gvk, objectVerbs...),
			sub("eviction", policyv1.SchemeGroupVersion.WithKind("Eviction"), "create"),
			sub("exec", core.WithKind("PodExecOptions"), "create", "get"),
			sub("log", gvk, "get"),
			sub("portforward", core.WithKind("PodPortForwardOptions"), "create", "get"),
			sub("proxy", core.WithKind("PodProxyOptions"), "create", "delete", "get", "patch", "update"),
			sub(upstream.Resize, gvk, objectVerbs...),
			status(gvk),
		}}
	case "Service":
		return names{short: []string{"svc"}, categories: inAll, subs: []Subresource{
			sub("proxy", core.WithKind("ServiceProxyOptions"), "create", "delete", "get", "patch", "update"),
			status(gvk),
		}}
	case "ConfigMap":
		return names{short: []string{"cm"}}
	case "Event":
		return names{short: []string{"ev"}}
	case "Deployment":
		return names{short: []string{"deploy"}, categories: inAll, subs: []Subresource{scale(), status(gvk)}}
	case "ReplicaSet":
		return names{short: []string{"rs"}, categories: inAll, subs: []Subresource{scale(), status(gvk)}}
	case "Job":
		return names{categories: inAll, subs: []Subresource{status(gvk)}}
	case "CertificateSigningRequest":
		return names{short: []string{"csr"}, subs: []Subresource{sub(upstream.Approval, gvk, objectVerbs...), status(gvk)}}
	case "PersistentVolume":
		return names{short: []string{"pv"}, subs: []Subresource{status(gvk)}}
	case "PersistentVolumeClaim":
		return names{short: []string{"pvc"}, subs: []Subresource{status(gvk)}}
	case "StorageClass":
		return names{short: []string{"sc"}}
	case "VolumeAttachment":
		return names{subs: []Subresource{status(gvk)}}
	case "NetworkPolicy":
		return names{short: []string{"netpol"}}
	case "App":
		return names{categories: []string{"all", "petrel"}, subs: []Subresource{status(gvk)}}
	case "Revision":
		return names{short: []string{"rev"}, categories: []string{"petrel"}}
	}
	return names{}
}

// table is built once: the scheme and the strategies behind it are global too.
var table = sync.OnceValue(func() []*Definition {
	if err := api.AddToScheme(upstream.Scheme()); err != nil {
		panic(err) // two of our own types under one name
	}
	var defs []*Definition
	for _, k := range upstream.Kinds() {
		defs = append(defs, define(api.ResourceInfo{GVR: k.GVR(), GVK: k.GVK(), Namespaced: k.Namespaced()}, k))
	}
	for _, info := range api.Resources() {
		defs = append(defs, define(info, &ownRules{info: info}))
	}
	return defs
})

func define(info api.ResourceInfo, rules Rules) *Definition {
	n := describe(info.GVK)
	d := &Definition{
		ResourceInfo: info,
		Singular:     strings.ToLower(info.GVK.Kind),
		ShortNames:   n.short,
		Categories:   n.categories,
		Subresources: n.subs,
		Rules:        rules,
		Stored: &store.Resource{
			GVR: info.GVR, GVK: info.GVK, Namespaced: info.Namespaced, New: rules.New, Fields: rules.Fields,
		},
	}
	for _, v := range allVerbs {
		if !slices.Contains(n.noneOf, v) {
			d.Verbs = append(d.Verbs, v)
		}
	}
	return d
}

// Definitions are all served resources, in a fixed order.
func Definitions() []*Definition { return table() }

// Lookup finds a served resource.
func Lookup(gvr schema.GroupVersionResource) (*Definition, bool) {
	for _, d := range table() {
		if d.GVR == gvr {
			return d, true
		}
	}
	return nil, false
}

// lookupKind finds a served resource by its kind.
func lookupKind(gvk schema.GroupVersionKind) (*Definition, bool) {
	for _, d := range table() {
		if d.GVK == gvk {
			return d, true
		}
	}
	return nil, false
}

// Stored lists what the store has to keep: every served resource, and the claims behind Services.
func Stored() []*store.Resource {
	var out []*store.Resource
	for _, d := range table() {
		out = append(out, d.Stored)
	}
	return append(out, claims)
}

// Scheme knows every served type.
func Scheme() *runtime.Scheme {
	table()
	return upstream.Scheme()
}
