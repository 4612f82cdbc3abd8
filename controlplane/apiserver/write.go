package apiserver

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/resource"
)

func (s *Server) create(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := negotiate(c.Request().Header.Get("Accept"), forms(d)); err != nil {
			return err
		}
		call, err := s.call(c, "")
		if err != nil {
			return err
		}
		obj, err := s.decode(c, d.GVK, call)
		if err != nil {
			return err
		}
		out, err := s.registry.Create(c.Request().Context(), d, call, obj)
		if err != nil {
			return err
		}
		return writeObject(c, http.StatusCreated, d, out)
	}
}

func (s *Server) update(d *resource.Definition, subresource string) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := negotiate(c.Request().Header.Get("Accept"), forms(d)); err != nil {
			return err
		}
		call, err := s.call(c, subresource)
		if err != nil {
			return err
		}
		obj, err := s.decode(c, d.GVK, call)
		if err != nil {
			return err
		}
		out, created, err := s.registry.Update(c.Request().Context(), d, call, obj)
		if err != nil {
			return err
		}
		return writeObject(c, codeOf(created), d, out)
	}
}

func (s *Server) patch(d *resource.Definition, subresource string) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := negotiate(c.Request().Header.Get("Accept"), forms(d)); err != nil {
			return err
		}
		call, p, err := s.patchCall(c, d, subresource)
		if err != nil {
			return err
		}
		out, created, err := s.registry.Patch(c.Request().Context(), d, call, p)
		if err != nil {
			return err
		}
		return writeObject(c, codeOf(created), d, out)
	}
}

func codeOf(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// patchCall reads a patch and its options.
func (s *Server) patchCall(c echo.Context, d *resource.Definition, subresource string) (resource.Call, resource.Patch, error) {
	var p resource.Patch
	call, err := s.call(c, subresource)
	if err != nil {
		return call, p, err
	}
	if p.Type, err = patchType(c.Request().Header.Get(echo.HeaderContentType), resource.PatchTypes(d)); err != nil {
		return call, p, err
	}
	p.Force = boolean(c.QueryParams(), "force")
	if err := checkPatchOptions(p, c.QueryParam("fieldManager"), c.QueryParams().Has("force")); err != nil {
		return call, p, err
	}
	p.Data, err = readBody(c)
	return call, p, err
}

func patchType(contentType string, served []types.PatchType) (types.PatchType, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err == nil && slices.Contains(served, types.PatchType(kind)) {
		return types.PatchType(kind), nil
	}
	var names []string
	for _, t := range served {
		names = append(names, string(t))
	}
	return "", unsupportedMedia("the body of the request was in an unknown format - accepted media types include: " + strings.Join(names, ", "))
}

// checkPatchOptions: an apply says on whose behalf, and only an apply can be forced.
func checkPatchOptions(p resource.Patch, manager string, forced bool) error {
	var errs field.ErrorList
	switch {
	case p.Type == types.ApplyYAMLPatchType && manager == "":
		errs = append(errs, field.Required(field.NewPath("fieldManager"), "is required for an apply"))
	case p.Type != types.ApplyYAMLPatchType && forced:
		errs = append(errs, field.Forbidden(field.NewPath("force"), "may only be given with an apply"))
	default:
		return nil
	}
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "", errs)
}
