package apiserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// proxyPath is where nodes take requests for their pods: the API reaches nodes, and not pods, whose network it need not be on.
const proxyPath = "/podProxy/"

// sandboxed keeps a page that a pod serves, under this server's address, from being taken for this server's own: scripts in
// it have no origin, and what they ask of the API is refused.
const sandboxed = "sandbox allow-scripts allow-forms allow-popups"

// proxied is a pod's port, as the name in pods/proxy and services/proxy says: [scheme:]name[:port].
type proxied struct{ scheme, name, port string }

func parseProxied(name string) (p proxied, err error) {
	parts := strings.Split(name, ":")
	switch len(parts) {
	case 1:
		p = proxied{"http", parts[0], ""}
	case 2:
		p = proxied{"http", parts[0], parts[1]}
	case 3:
		p = proxied{parts[0], parts[1], parts[2]}
	}
	if p.scheme == "" {
		p.scheme = "http"
	}
	if p.name == "" || p.scheme != "http" && p.scheme != "https" {
		return proxied{}, apierrors.NewBadRequest(fmt.Sprintf("%q: want NAME, NAME:PORT or SCHEME:NAME:PORT with the scheme http or https", name))
	}
	return p, nil
}

// routeProxy serves pods/proxy and services/proxy, for every method.
func (s *Server) routeProxy(d *resource.Definition) {
	handler := s.podProxy(d)
	path := root(d.GVR.GroupVersion()) + "/namespaces/:ns/" + d.GVR.Resource + "/:name/" + proxySubresource
	for method, verb := range map[string]string{
		http.MethodGet: "get", http.MethodHead: "get", http.MethodOptions: "get", http.MethodPost: "create", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	} {
		s.handle(method, path, d, proxySubresource, verb, handler)
		s.handle(method, path+"/*", d, proxySubresource, verb, handler)
	}
}

// podProxy passes a request on to a pod, through its node.
func (s *Server) podProxy(d *resource.Definition) echo.HandlerFunc {
	find := s.proxiedPod
	if d.GVR.Resource == "services" {
		find = s.proxiedEndpoint
	}
	return func(c echo.Context) error {
		asked, err := parseProxied(param(c, "name"))
		if err != nil {
			return err
		}
		ctx := c.Request().Context()
		pod, port, err := find(ctx, param(c, "ns"), asked)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName == "" {
			return apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s is not assigned to a node yet", pod.Name))
		}
		nodes, ok := resource.Lookup(corev1.SchemeGroupVersion.WithResource("nodes"))
		if !ok {
			return fmt.Errorf("%s/%s needs nodes", d.GVR.Resource, proxySubresource)
		}
		target := url.URL{
			Path:     proxyPath + pod.Namespace + "/" + pod.Name + "/" + asked.scheme + "/" + strconv.Itoa(port),
			RawQuery: url.Values{"uri": {proxiedURI(c)}}.Encode(),
		}
		if target.Host, err = s.nodeHost(ctx, nodes, pod.Spec.NodeName); err != nil {
			return err
		}
		defer s.metrics.longRunning("CONNECT", d)()
		return s.passRequest(c, pod.Spec.NodeName, target)
	}
}

// proxiedURI is what the pod is asked for, in the client's own spelling.
func proxiedURI(c echo.Context) string {
	path := c.Request().URL.EscapedPath()
	_, rest, _ := strings.Cut(path, "/"+proxySubresource) // no namespace and no name has a slash
	if rest == "" {
		rest = "/"
	}
	if q := c.Request().URL.RawQuery; q != "" {
		rest += "?" + q
	}
	return rest
}

// proxiedPod finds a pod and its port: by number, by name, or the first one that it declares.
func (s *Server) proxiedPod(ctx context.Context, namespace string, asked proxied) (*corev1.Pod, int, error) {
	pods, ok := resource.Lookup(corev1.SchemeGroupVersion.WithResource("pods"))
	if !ok {
		return nil, 0, fmt.Errorf("find pod: pods are not served")
	}
	entry, err := s.registry.Get(ctx, pods, namespace, asked.name, true)
	if err != nil {
		return nil, 0, err
	}
	pod, ok := entry.Object().(*corev1.Pod)
	if !ok {
		return nil, 0, fmt.Errorf("find pod: got a %T", entry.Object())
	}
	if number, err := strconv.ParseUint(asked.port, 10, 16); err == nil && number > 0 {
		return pod, int(number), nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if asked.port == "" || p.Name == asked.port {
				return pod, int(p.ContainerPort), nil
			}
		}
	}
	if asked.port != "" {
		return nil, 0, apierrors.NewBadRequest(fmt.Sprintf("pod %s has no port %q", pod.Name, asked.port))
	}
	return pod, map[string]int{"http": 80, "https": 443}[asked.scheme], nil
}

// proxiedEndpoint finds a pod that is a ready endpoint of a service, any of them.
func (s *Server) proxiedEndpoint(ctx context.Context, namespace string, asked proxied) (*corev1.Pod, int, error) {
	name, err := s.servicePort(ctx, namespace, asked)
	if err != nil {
		return nil, 0, err
	}
	slicesOf, ok := resource.Lookup(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"))
	if !ok {
		return nil, 0, fmt.Errorf("find endpoints: endpointslices are not served")
	}
	list, err := s.registry.List(ctx, slicesOf, store.ListOptions{Query: store.Query{
		Namespace: namespace, Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: asked.name}),
	}})
	if err != nil {
		return nil, 0, err
	}
	type endpoint struct {
		pod  string
		port int
	}
	var ready []endpoint
	for _, e := range list.Entries {
		slice, ok := e.Object().(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		at := slices.IndexFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool {
			return p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name)
		})
		for _, x := range slice.Endpoints {
			if at >= 0 && (x.Conditions.Ready == nil || *x.Conditions.Ready) && x.TargetRef != nil && x.TargetRef.Kind == "Pod" {
				ready = append(ready, endpoint{x.TargetRef.Name, int(*slice.Ports[at].Port)})
			}
		}
	}
	if len(ready) == 0 {
		return nil, 0, apierrors.NewServiceUnavailable(fmt.Sprintf("no pod is ready behind port %q of service %s", name, asked.name))
	}
	chosen := ready[rand.IntN(len(ready))]
	return s.proxiedPod(ctx, namespace, proxied{asked.scheme, chosen.pod, strconv.Itoa(chosen.port)})
}

// servicePort is the name of the service's port that is meant: by name, by number, or its only one.
func (s *Server) servicePort(ctx context.Context, namespace string, asked proxied) (string, error) {
	services, ok := resource.Lookup(corev1.SchemeGroupVersion.WithResource("services"))
	if !ok {
		return "", fmt.Errorf("find service: services are not served")
	}
	entry, err := s.registry.Get(ctx, services, namespace, asked.name, false)
	if err != nil {
		return "", err
	}
	service, ok := entry.Object().(*corev1.Service)
	if !ok {
		return "", fmt.Errorf("find service: got a %T", entry.Object())
	}
	for _, p := range service.Spec.Ports {
		if asked.port == "" && len(service.Spec.Ports) == 1 || asked.port != "" && (p.Name == asked.port || asked.port == strconv.Itoa(int(p.Port))) {
			return p.Name, nil
		}
	}
	if asked.port == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("service %s has %d ports: name one, as %s:PORT", service.Name, len(service.Spec.Ports), service.Name))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("service %s has no port %q", service.Name, asked.port))
}

// passRequest passes one request on to a node, and its answer back.
func (s *Server) passRequest(c echo.Context, node string, target url.URL) error {
	return s.passThrough(c, node, target, func(h http.Header) http.Header {
		for _, name := range []string{"Authorization", "Origin", "Impersonate-User"} {
			h.Del(name)
		}
		return h
	}, func(resp *http.Response) error {
		resp.Header.Set("Content-Security-Policy", sandboxed)
		return nil
	})
}
