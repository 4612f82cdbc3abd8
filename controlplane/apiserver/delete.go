package apiserver

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// shown are the kinds whose last state is answered when they are gone; others answer a Status. Clients know it so.
var shown = []schema.GroupVersionKind{
	corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("Service"),
}

func (s *Server) delete(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := negotiate(c.Request().Header.Get("Accept"), forms(d)); err != nil {
			return err
		}
		call, opts, err := s.deleteCall(c)
		if err != nil {
			return err
		}
		out, removed, err := s.registry.Delete(c.Request().Context(), d, call, opts)
		if err != nil {
			return err
		}
		if !removed || slices.Contains(shown, d.GVK) {
			return writeObject(c, http.StatusOK, d, out)
		}
		m, err := meta.Accessor(out)
		if err != nil {
			return err
		}
		return success(c, http.StatusOK, &metav1.StatusDetails{
			Name: m.GetName(), Group: d.GVR.Group, Kind: d.GVR.Resource, UID: m.GetUID(),
		})
	}
}

func (s *Server) deleteCollection(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := negotiate(c.Request().Header.Get("Accept"), forms(d))
		if err != nil {
			return err
		}
		q, err := query(c, d)
		if err != nil {
			return err
		}
		call, opts, err := s.deleteCall(c)
		if err != nil {
			return err
		}
		deleted, err := s.registry.DeleteCollection(c.Request().Context(), d, call, store.ListOptions{Query: q}, opts)
		if err != nil {
			return err
		}
		return writeList(c, d, f, &store.List{Entries: deleted, Revision: s.registry.Revision()})
	}
}

// deleteCall reads the options from the body, or, without one, from the query.
func (s *Server) deleteCall(c echo.Context) (resource.Call, metav1.DeleteOptions, error) {
	call, err := s.call(c, "")
	if err != nil {
		return call, metav1.DeleteOptions{}, err
	}
	body, err := readBody(c)
	if err != nil {
		return call, metav1.DeleteOptions{}, err
	}
	if len(body) == 0 {
		opts, err := queryDeleteOptions(c.QueryParams())
		return call, opts, err
	}
	opts, err := s.decoders.deleteOptions(c.Request().Header.Get(echo.HeaderContentType), body)
	if err != nil {
		return call, opts, err
	}
	dry, bad := dryRun(opts.DryRun)
	if bad != nil {
		return call, opts, apierrors.NewBadRequest(bad.Error())
	}
	call.DryRun = call.DryRun || dry
	return call, opts, nil
}

// deleteOptions decodes a body. Clients put any group and version on it.
func (d *decoders) deleteOptions(contentType string, body []byte) (metav1.DeleteOptions, error) {
	decoder, err := d.pick(contentType, false, true)
	if err != nil {
		return metav1.DeleteOptions{}, err
	}
	gvk := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	gvk.Group = ""
	obj, _, err := decoder.Decode(body, &gvk, &metav1.DeleteOptions{})
	if err != nil {
		return metav1.DeleteOptions{}, apierrors.NewBadRequest(fmt.Sprintf("decode DeleteOptions: %v", err))
	}
	opts, ok := obj.(*metav1.DeleteOptions)
	if !ok {
		return metav1.DeleteOptions{}, apierrors.NewBadRequest(fmt.Sprintf("the body holds a %T, but DeleteOptions are expected", obj))
	}
	return *opts, nil
}

func queryDeleteOptions(q url.Values) (metav1.DeleteOptions, error) {
	var opts metav1.DeleteOptions
	grace, given, err := integer(q, "gracePeriodSeconds")
	if err != nil {
		return opts, err
	}
	if given {
		opts.GracePeriodSeconds = &grace
	}
	if v := q.Get("propagationPolicy"); v != "" {
		p := metav1.DeletionPropagation(v)
		opts.PropagationPolicy = &p
	}
	if q.Has("orphanDependents") {
		b := boolean(q, "orphanDependents")
		opts.OrphanDependents = &b
	}
	return opts, nil
}
