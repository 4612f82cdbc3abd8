package apiserver

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/petrelrun/petrel/controlplane/resource"
)

var (
	scaleGVK    = autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	bindingGVK  = corev1.SchemeGroupVersion.WithKind("Binding")
	evictionGVK = policyv1.SchemeGroupVersion.WithKind("Eviction")
)

func (s *Server) bind(c echo.Context) error {
	call, err := s.call(c, "binding")
	if err != nil {
		return err
	}
	obj, err := s.decode(c, bindingGVK, call)
	if err != nil {
		return err
	}
	b, ok := obj.(*corev1.Binding)
	if !ok {
		return fmt.Errorf("bind: got a %T", obj)
	}
	if err := s.registry.Bind(c.Request().Context(), call, b); err != nil {
		return err
	}
	return success(c, http.StatusCreated, nil)
}

func (s *Server) evict(c echo.Context) error {
	call, err := s.call(c, "")
	if err != nil {
		return err
	}
	obj, err := s.decode(c, evictionGVK, call)
	if err != nil {
		return err
	}
	e, ok := obj.(*policyv1.Eviction)
	if !ok {
		return fmt.Errorf("evict: got a %T", obj)
	}
	if err := s.registry.Evict(c.Request().Context(), call, e); err != nil {
		return err
	}
	return success(c, http.StatusCreated, nil)
}

func (s *Server) getScale(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		scale, err := s.registry.GetScale(c.Request().Context(), d, resource.Call{Namespace: param(c, "ns"), Name: param(c, "name")})
		return writeScale(c, scale, err)
	}
}

func (s *Server) updateScale(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		call, err := s.call(c, "scale")
		if err != nil {
			return err
		}
		obj, err := s.decode(c, scaleGVK, call)
		if err != nil {
			return err
		}
		in, ok := obj.(*autoscalingv1.Scale)
		if !ok {
			return fmt.Errorf("scale: got a %T", obj)
		}
		scale, err := s.registry.UpdateScale(c.Request().Context(), d, call, in)
		return writeScale(c, scale, err)
	}
}

func (s *Server) patchScale(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		call, p, err := s.patchCall(c, d, "scale")
		if err != nil {
			return err
		}
		scale, err := s.registry.PatchScale(c.Request().Context(), d, call, p)
		return writeScale(c, scale, err)
	}
}

func writeScale(c echo.Context, scale *autoscalingv1.Scale, err error) error {
	if err != nil {
		return err
	}
	f, err := negotiate(c.Request().Header.Get("Accept"), mediaPlain|mediaProtobuf)
	if err != nil {
		return err
	}
	return write(c, http.StatusOK, f, scaleGVK, scale)
}
