package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// root is where a group and version is served.
func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}

// route sets up every path.
func (s *Server) route() error {
	for _, d := range resource.Definitions() {
		s.routeResource(d)
		for _, sub := range d.Subresources {
			if err := s.routeSubresource(d, sub); err != nil {
				return err
			}
		}
	}
	s.routeWhoAmI()
	if err := s.routeUsage(); err != nil {
		return err
	}
	if err := s.routeDiscovery(); err != nil {
		return err
	}
	s.routeOpenAPI()
	s.routeHealth()
	s.metrics.watchInflight(s.inflight)
	s.echo.GET("/metrics", s.open(echo.WrapHandler(s.metrics.handler())))
	for prefix, handler := range s.cfg.Mounts {
		mounted := s.open(echo.WrapHandler(handler))
		s.echo.Any(prefix+"*", mounted)
		s.echo.Any(strings.TrimSuffix(prefix, "/"), mounted)
	}
	return nil
}

// routeResource serves the verbs of one resource.
func (s *Server) routeResource(d *resource.Definition) {
	all := root(d.GVR.GroupVersion()) + "/" + d.GVR.Resource
	collection := all
	if d.Namespaced {
		collection = root(d.GVR.GroupVersion()) + "/namespaces/:ns/" + d.GVR.Resource
		s.handle(http.MethodGet, all, d, "", "list", s.listOrWatch(d))
	}
	object := collection + "/:name"
	for _, r := range []struct {
		verb, method, path string
		handler            echo.HandlerFunc
	}{
		{"list", http.MethodGet, collection, s.listOrWatch(d)},
		{"create", http.MethodPost, collection, s.create(d)},
		{"deletecollection", http.MethodDelete, collection, s.deleteCollection(d)},
		{"get", http.MethodGet, object, s.get(d)},
		{"update", http.MethodPut, object, s.update(d, "")},
		{"patch", http.MethodPatch, object, s.patch(d, "")},
		{"delete", http.MethodDelete, object, s.delete(d)},
	} {
		if d.Serves(r.verb) {
			s.handle(r.method, r.path, d, "", r.verb, r.handler)
		}
	}
}

// routeSubresource serves one subresource; one that the table names and nobody serves is a mistake.
func (s *Server) routeSubresource(d *resource.Definition, sub resource.Subresource) error {
	handlers := map[string]echo.HandlerFunc{}
	switch sub.Name {
	case upstream.Status, upstream.Finalize, upstream.Approval, upstream.EphemeralContainers, upstream.Resize:
		handlers["get"], handlers["update"], handlers["patch"] = s.get(d), s.update(d, sub.Name), s.patch(d, sub.Name)
	case "scale":
		handlers["get"], handlers["update"], handlers["patch"] = s.getScale(d), s.updateScale(d), s.patchScale(d)
	case "binding":
		handlers["create"] = s.bind
	case "eviction":
		handlers["create"] = s.evict
	case "log":
		nodes, ok := resource.Lookup(corev1.SchemeGroupVersion.WithResource("nodes"))
		if !ok {
			return fmt.Errorf("%s/log needs nodes", d.GVR.Resource)
		}
		handlers["get"] = s.logs(d, nodes)
	case "exec", "attach", "portforward":
		nodes, ok := resource.Lookup(corev1.SchemeGroupVersion.WithResource("nodes"))
		if !ok {
			return fmt.Errorf("%s/%s needs nodes", d.GVR.Resource, sub.Name)
		}
		handlers["get"] = s.stream(d, nodes, sub.Name)
		handlers["create"] = handlers["get"]
	case proxySubresource:
		if d.Namespaced {
			s.routeProxy(d)
			return nil
		}
		handlers["get"] = s.nodeProxy(d)
		s.handle(http.MethodGet, root(d.GVR.GroupVersion())+"/"+d.GVR.Resource+"/:name/"+sub.Name+"/*", d, sub.Name, "get", handlers["get"])
	}
	path := root(d.GVR.GroupVersion()) + "/" + d.GVR.Resource + "/:name/" + sub.Name
	if d.Namespaced {
		path = root(d.GVR.GroupVersion()) + "/namespaces/:ns/" + d.GVR.Resource + "/:name/" + sub.Name
	}
	for _, verb := range sub.Verbs {
		if handlers[verb] == nil {
			return fmt.Errorf("%s/%s: nobody serves %s", d.GVR.Resource, sub.Name, verb)
		}
		s.handle(methods[verb], path, d, sub.Name, verb, handlers[verb])
	}
	return nil
}

var methods = map[string]string{
	"get": http.MethodGet, "create": http.MethodPost, "update": http.MethodPut, "patch": http.MethodPatch,
}

// proxySubresource is a node's own server.
const proxySubresource = "proxy"

// streamed are the subresources that last as long as their clients like.
var streamed = []string{"log", "exec", "attach", "portforward", proxySubresource}

// handle routes one verb behind the limits and the Authorizer.
func (s *Server) handle(method, path string, d *resource.Definition, subresource, verb string, h echo.HandlerFunc) {
	limited := s.limited(method != http.MethodGet, h)
	s.echo.Add(method, path, func(c echo.Context) error {
		v, next := verb, limited
		if verb == "list" && boolean(c.QueryParams(), "watch") {
			v, next = "watch", h
		}
		if slices.Contains(streamed, subresource) {
			next = h
		}
		c.Set(routeKey, routeLabels{v, d.GVR.Group, d.GVR.Version, d.GVR.Resource, subresource})
		err := s.authorize(c, auth.Attributes{
			Verb: v, Group: d.GVR.Group, Version: d.GVR.Version, Resource: d.GVR.Resource, Subresource: subresource,
		})
		if err != nil {
			return err
		}
		return next(c)
	})
}
