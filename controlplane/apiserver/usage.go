package apiserver

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// What nodes and pods take now (metrics.k8s.io) is asked of the nodes with each request: nothing of it is stored, so the
// table of resources does not have it.
var (
	nodeUsage = usageOf("nodes", "NodeMetrics", false)
	podUsage  = usageOf("pods", "PodMetrics", true)
)

func usageOf(name, kind string, namespaced bool) *resource.Definition {
	return &resource.Definition{
		ResourceInfo: api.ResourceInfo{
			GVR: metricsv1.SchemeGroupVersion.WithResource(name), GVK: metricsv1.SchemeGroupVersion.WithKind(kind), Namespaced: namespaced,
		},
		Verbs: []string{"get", "list"},
	}
}

// routeUsage serves metrics.k8s.io: `kubectl top`.
func (s *Server) routeUsage() error {
	nodes, found := resource.Lookup(corev1.SchemeGroupVersion.WithResource("nodes"))
	pods, foundToo := resource.Lookup(corev1.SchemeGroupVersion.WithResource("pods"))
	if !found || !foundToo {
		return fmt.Errorf("%s needs nodes and pods", metricsv1.SchemeGroupVersion)
	}
	base := root(metricsv1.SchemeGroupVersion)
	s.handle(http.MethodGet, base+"/nodes", nodeUsage, "", "list", s.listNodeUsage(nodes))
	s.handle(http.MethodGet, base+"/nodes/:name", nodeUsage, "", "get", s.getNodeUsage(nodes))
	s.handle(http.MethodGet, base+"/pods", podUsage, "", "list", s.listPodUsage(pods, nodes))
	s.handle(http.MethodGet, base+"/namespaces/:ns/pods", podUsage, "", "list", s.listPodUsage(pods, nodes))
	s.handle(http.MethodGet, base+"/namespaces/:ns/pods/:name", podUsage, "", "get", s.getPodUsage(pods, nodes))
	return nil
}

// usageForm is the form of an answer; a watch, which nothing here can have, is refused.
func usageForm(c echo.Context, d *resource.Definition) (form, error) {
	if boolean(c.QueryParams(), "watch") {
		return form{}, apierrors.NewMethodNotSupported(d.GR(), "watch")
	}
	return negotiate(c.Request().Header.Get("Accept"), mediaPlain|mediaProtobuf)
}

// usageSelection are the objects that are meant, as the store has them.
func (s *Server) usageSelection(c echo.Context, d *resource.Definition) ([]*store.Entry, error) {
	q, err := query(c, d)
	if err != nil {
		return nil, err
	}
	page, err := s.registry.List(c.Request().Context(), d, store.ListOptions{Query: q})
	if err != nil {
		return nil, err
	}
	return page.Entries, nil
}

func (s *Server) listNodeUsage(nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := usageForm(c, nodeUsage)
		if err != nil {
			return err
		}
		entries, err := s.usageSelection(c, nodes)
		if err != nil {
			return err
		}
		list := &metricsv1.NodeMetricsList{Items: []metricsv1.NodeMetrics{}}
		list.SetGroupVersionKind(nodeUsage.ListGVK())
		summaries := s.askNodes(c.Request().Context(), entries)
		for _, e := range entries {
			if u := summaries[e.Name]; u != nil {
				list.Items = append(list.Items, u.node(e.Object()))
			}
		}
		return write(c, http.StatusOK, f, nodeUsage.ListGVK(), list)
	}
}

func (s *Server) getNodeUsage(nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := usageForm(c, nodeUsage)
		if err != nil {
			return err
		}
		e, err := s.registry.Get(c.Request().Context(), nodes, "", param(c, "name"), false)
		if err != nil {
			return err
		}
		u, err := s.askNode(c.Request().Context(), e)
		if err != nil {
			return err
		}
		item := u.node(e.Object())
		item.SetGroupVersionKind(nodeUsage.GVK)
		return write(c, http.StatusOK, f, nodeUsage.GVK, &item)
	}
}

func (s *Server) listPodUsage(pods, nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := usageForm(c, podUsage)
		if err != nil {
			return err
		}
		entries, err := s.usageSelection(c, pods)
		if err != nil {
			return err
		}
		list := &metricsv1.PodMetricsList{Items: []metricsv1.PodMetrics{}}
		list.SetGroupVersionKind(podUsage.ListGVK())
		summaries := s.askNodes(c.Request().Context(), s.nodesOf(c.Request().Context(), entries, nodes))
		for _, e := range entries {
			pod, ok := e.Object().(*corev1.Pod)
			if !ok {
				return fmt.Errorf("list usage of pods: got a %T", e.Object())
			}
			if item, ok := summaries[pod.Spec.NodeName].pod(pod); ok {
				list.Items = append(list.Items, item)
			}
		}
		return write(c, http.StatusOK, f, podUsage.ListGVK(), list)
	}
}

func (s *Server) getPodUsage(pods, nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := usageForm(c, podUsage)
		if err != nil {
			return err
		}
		ctx, name := c.Request().Context(), param(c, "name")
		e, err := s.registry.Get(ctx, pods, param(c, "ns"), name, true)
		if err != nil {
			return err
		}
		pod, ok := e.Object().(*corev1.Pod)
		if !ok {
			return fmt.Errorf("get usage of a pod: got a %T", e.Object())
		}
		var u *usage
		if pod.Spec.NodeName != "" {
			node, err := s.registry.Get(ctx, nodes, "", pod.Spec.NodeName, false)
			if err != nil {
				return err
			}
			if u, err = s.askNode(ctx, node); err != nil {
				return err
			}
		}
		item, ok := u.pod(pod)
		if !ok {
			return apierrors.NewNotFound(podUsage.GR(), pod.Namespace+"/"+name)
		}
		item.SetGroupVersionKind(podUsage.GVK)
		return write(c, http.StatusOK, f, podUsage.GVK, &item)
	}
}

// usageMeta is the metadata of an answer about the object: made now, with its labels.
func usageMeta(obj metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace(), Labels: obj.GetLabels(), CreationTimestamp: metav1.Now()}
}
