package apiserver

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/resource"
)

var aggregatedGVK = schema.GroupVersionKind{Group: "apidiscovery.k8s.io", Version: "v2", Kind: "APIGroupDiscoveryList"}

// contentAggregated is the media type of the document that tells everything in one answer.
const contentAggregated = contentJSON + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// served groups the table, and what is not stored, by group and version, in the table's order.
func served() (order []schema.GroupVersion, by map[schema.GroupVersion][]*resource.Definition) {
	by = map[schema.GroupVersion][]*resource.Definition{}
	for _, d := range append(slices.Clone(resource.Definitions()), selfSubjectReviews, nodeUsage, podUsage) {
		gv := d.GVR.GroupVersion()
		if by[gv] == nil {
			order = append(order, gv)
		}
		by[gv] = append(by[gv], d)
	}
	return order, by
}

// routeDiscovery serves what clients find their way by: the aggregated document to those who know it, the older ones
// to the others.
func (s *Server) routeDiscovery() error {
	order, by := served()
	core, groups := &apidiscovery.APIGroupDiscoveryList{}, &apidiscovery.APIGroupDiscoveryList{}
	legacy := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	legacy.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "APIGroupList"})
	for _, gv := range order {
		if err := s.document(root(gv), resourceList(gv, by[gv])); err != nil {
			return err
		}
		if gv.Group == "" {
			core.Items = append(core.Items, discoveryOf(gv, by[gv]))
			continue
		}
		groups.Items = append(groups.Items, discoveryOf(gv, by[gv]))
		group := groupOf(gv)
		legacy.Groups = append(legacy.Groups, group)
		group.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "APIGroup"})
		if err := s.document("/apis/"+gv.Group, &group); err != nil {
			return err
		}
	}
	versions := &metav1.APIVersions{Versions: []string{"v1"}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}}
	versions.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "APIVersions"})
	if err := s.aggregated("/api", core, versions); err != nil {
		return err
	}
	return s.aggregated("/apis", groups, legacy)
}

// document serves one document that never changes, with and without a slash at the end.
func (s *Server) document(path string, doc any) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	handler := s.open(func(c echo.Context) error {
		f, err := negotiate(c.Request().Header.Get("Accept"), mediaPlain)
		if err != nil {
			return err
		}
		return writeJSON(c, http.StatusOK, f, body)
	})
	s.echo.GET(path, handler)
	s.echo.GET(path+"/", handler)
	return nil
}

// aggregated serves two documents at one path, by what the client accepts.
func (s *Server) aggregated(path string, list *apidiscovery.APIGroupDiscoveryList, legacy any) error {
	list.SetGroupVersionKind(aggregatedGVK)
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	old, err := json.Marshal(legacy)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	etag := fmt.Sprintf(`"%X"`, sha256.Sum256(body))
	handler := s.open(func(c echo.Context) error {
		c.Response().Header().Set("Vary", "Accept")
		if !wantsAggregated(c.Request().Header.Get("Accept")) {
			f, err := negotiate(c.Request().Header.Get("Accept"), mediaPlain)
			if err != nil {
				return err
			}
			return writeJSON(c, http.StatusOK, f, old)
		}
		c.Response().Header().Set("ETag", etag)
		if matchesETag(c.Request().Header.Get("If-None-Match"), etag) {
			return c.NoContent(http.StatusNotModified)
		}
		return c.Blob(http.StatusOK, contentAggregated, body)
	})
	s.echo.GET(path, handler)
	s.echo.GET(path+"/", handler)
	return nil
}

// wantsAggregated tells whether the aggregated document comes before plain JSON in what the client accepts.
func wantsAggregated(accept string) bool {
	for _, clause := range parseAccept(accept) {
		if clause.kind != contentJSON && clause.kind != "*/*" && clause.kind != "application/*" {
			continue
		}
		if clause.params["as"] == aggregatedGVK.Kind && clause.params["g"] == aggregatedGVK.Group && clause.params["v"] == aggregatedGVK.Version {
			return true
		}
		if clause.params["as"] == "" {
			return false
		}
	}
	return false
}

func matchesETag(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == etag {
			return true
		}
	}
	return false
}

func groupOf(gv schema.GroupVersion) metav1.APIGroup {
	v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	return metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v}
}

func resourceList(gv schema.GroupVersion, defs []*resource.Definition) *metav1.APIResourceList {
	list := &metav1.APIResourceList{GroupVersion: gv.String()}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"})
	for _, d := range defs {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: d.GVR.Resource, SingularName: d.Singular, Namespaced: d.Namespaced, Kind: d.GVK.Kind,
			Verbs: d.Verbs, ShortNames: d.ShortNames, Categories: d.Categories,
		})
		for _, sub := range d.Subresources {
			r := metav1.APIResource{Name: d.GVR.Resource + "/" + sub.Name, Namespaced: d.Namespaced, Kind: sub.GVK.Kind, Verbs: sub.Verbs}
			if sub.GVK.GroupVersion() != gv {
				r.Group, r.Version = sub.GVK.Group, sub.GVK.Version
			}
			list.APIResources = append(list.APIResources, r)
		}
	}
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func discoveryOf(gv schema.GroupVersion, defs []*resource.Definition) apidiscovery.APIGroupDiscovery {
	v := apidiscovery.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
	for _, d := range defs {
		r := apidiscovery.APIResourceDiscovery{
			Resource: d.GVR.Resource, SingularResource: d.Singular, ResponseKind: kindOf(d.GVK), Scope: apidiscovery.ScopeCluster,
			Verbs: d.Verbs, ShortNames: d.ShortNames, Categories: d.Categories,
		}
		if d.Namespaced {
			r.Scope = apidiscovery.ScopeNamespace
		}
		for _, sub := range d.Subresources {
			r.Subresources = append(r.Subresources, apidiscovery.APISubresourceDiscovery{
				Subresource: sub.Name, ResponseKind: kindOf(sub.GVK), Verbs: sub.Verbs,
			})
		}
		v.Resources = append(v.Resources, r)
	}
	slices.SortFunc(v.Resources, func(a, b apidiscovery.APIResourceDiscovery) int { return strings.Compare(a.Resource, b.Resource) })
	return apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}, Versions: []apidiscovery.APIVersionDiscovery{v}}
}

func kindOf(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}
