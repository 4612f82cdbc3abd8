package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

func (s *Server) get(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, err := parseReading(c.QueryParams())
		if err != nil {
			return err
		}
		e, err := s.registry.Get(c.Request().Context(), d, param(c, "ns"), param(c, "name"), r.version != "0")
		if err != nil {
			return err
		}
		return writeEntry(c, d, e)
	}
}

func (s *Server) list(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		f, err := negotiate(c.Request().Header.Get("Accept"), forms(d))
		if err != nil {
			return err
		}
		opts, err := listOptions(c, d)
		if err != nil {
			return err
		}
		page, err := s.registry.List(c.Request().Context(), d, opts)
		if err != nil {
			return err
		}
		return writeList(c, d, f, page)
	}
}

// writeList answers a page in the form the client wants.
func writeList(c echo.Context, d *resource.Definition, f form, page *store.List) error {
	switch {
	case f.as == asTable:
		t, err := newTables(c, d)
		if err != nil {
			return err
		}
		table, err := t.list(page)
		if err != nil {
			return err
		}
		return writePlain(c, http.StatusOK, f, table)
	case f.as == asPartial:
		list := &metav1.PartialObjectMetadataList{ListMeta: listMeta(page), Items: make([]metav1.PartialObjectMetadata, 0, len(page.Entries))}
		list.SetGroupVersionKind(partialListGVK)
		for _, e := range page.Entries {
			p, err := partial(e.Object())
			if err != nil {
				return err
			}
			list.Items = append(list.Items, *p)
		}
		return write(c, http.StatusOK, f, partialListGVK, list)
	case f.protobuf:
		body, err := protobufList(d.ListGVK(), page)
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, contentProtobuf, body)
	case f.yaml || pretty(c.Request()):
		body, err := jsonList(d, page)
		if err != nil {
			return err
		}
		return writeJSON(c, http.StatusOK, f, body)
	}
	return streamList(c, d, page)
}

// listHead is a list up to its first item.
func listHead(d *resource.Definition, page *store.List) ([]byte, error) {
	head := struct {
		Kind       string          `json:"kind"`
		APIVersion string          `json:"apiVersion"`
		Metadata   metav1.ListMeta `json:"metadata"`
	}{d.ListGVK().Kind, d.GVK.GroupVersion().String(), listMeta(page)}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	return append(b[:len(b)-1], `,"items":[`...), nil
}

func jsonList(d *resource.Definition, page *store.List) ([]byte, error) {
	out, err := listHead(d, page)
	if err != nil {
		return nil, err
	}
	for i, e := range page.Entries {
		if i > 0 {
			out = append(out, ',')
		}
		item, err := e.JSON()
		if err != nil {
			return nil, err
		}
		out = append(out, item...)
	}
	return append(out, "]}"...), nil
}

// streamList writes a list item by item: the whole of it is never in memory a second time.
func streamList(c echo.Context, d *resource.Definition, page *store.List) error {
	head, err := listHead(d, page)
	if err != nil {
		return err
	}
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, contentJSON)
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for i, e := range page.Entries {
		item, err := e.JSON()
		if err != nil {
			return err
		}
		if i > 0 {
			if _, err := w.Write([]byte{','}); err != nil {
				return err
			}
		}
		if _, err := w.Write(item); err != nil {
			return err
		}
	}
	_, err = w.Write([]byte("]}\n"))
	return err
}
