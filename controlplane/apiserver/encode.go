package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

var (
	partialGVK     = metav1.SchemeGroupVersion.WithKind(asPartial)
	partialListGVK = metav1.SchemeGroupVersion.WithKind(asPartial + "List")
)

// forms are what a resource's objects can be answered as.
func forms(d *resource.Definition) mediaSet {
	can := mediaPlain | mediaTable | mediaPartial
	if _, ok := d.Rules.New().(marshaler); ok {
		can |= mediaProtobuf
	}
	return can
}

// writeObject answers an object of d in the form the client wants.
func writeObject(c echo.Context, code int, d *resource.Definition, obj runtime.Object) error {
	f, err := negotiate(c.Request().Header.Get("Accept"), forms(d))
	if err != nil {
		return err
	}
	switch f.as {
	case asTable:
		t, err := newTables(c, d)
		if err != nil {
			return err
		}
		table, err := t.of(obj)
		if err != nil {
			return err
		}
		return writePlain(c, code, f, table)
	case asPartial:
		p, err := partial(obj)
		if err != nil {
			return err
		}
		return write(c, code, f, partialGVK, p)
	}
	return write(c, code, f, obj.GetObjectKind().GroupVersionKind(), obj)
}

// writeEntry answers an object as the store has it, without encoding where the form allows.
func writeEntry(c echo.Context, d *resource.Definition, e *store.Entry) error {
	f, err := negotiate(c.Request().Header.Get("Accept"), forms(d))
	if err != nil {
		return err
	}
	if f.as != "" {
		return writeObject(c, http.StatusOK, d, e.Object())
	}
	if f.protobuf {
		raw, ok := e.Raw()
		if !ok {
			return fmt.Errorf("encode %s/%s: it is not kept as protobuf", e.Namespace, e.Name)
		}
		return c.Blob(http.StatusOK, contentProtobuf, appendEnvelope(make([]byte, 0, framed(len(raw), d.GVK)), d.GVK, raw))
	}
	body, err := e.JSON()
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, f, body)
}

// write answers any object of the API.
func write(c echo.Context, code int, f form, gvk schema.GroupVersionKind, obj any) error {
	if !f.protobuf {
		return writePlain(c, code, f, obj)
	}
	body, err := envelopeOf(gvk, obj)
	if err != nil {
		return err
	}
	return c.Blob(code, contentProtobuf, body)
}

// writePlain answers JSON or YAML.
func writePlain(c echo.Context, code int, f form, obj any) error {
	body, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("encode %T: %w", obj, err)
	}
	return writeJSON(c, code, f, body)
}

func writeJSON(c echo.Context, code int, f form, body []byte) error {
	if f.yaml {
		out, err := yaml.JSONToYAML(body)
		if err != nil {
			return fmt.Errorf("encode YAML: %w", err)
		}
		return c.Blob(code, contentYAML, out)
	}
	if pretty(c.Request()) {
		var out bytes.Buffer
		if err := json.Indent(&out, body, "", "  "); err != nil {
			return fmt.Errorf("indent JSON: %w", err)
		}
		body = out.Bytes()
	}
	return c.Blob(code, contentJSON, append(body[:len(body):len(body)], '\n'))
}

// pretty tells whether a person reads the answer: they say so, or use a tool that people read from.
func pretty(r *http.Request) bool {
	if q := r.URL.Query(); q.Has("pretty") {
		v := q.Get("pretty")
		return v != "0" && v != "false"
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl/") || strings.HasPrefix(agent, "Wget/") || strings.HasPrefix(agent, "Mozilla/")
}

// partial is an object's metadata.
func partial(obj runtime.Object) (*metav1.PartialObjectMetadata, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	p := meta.AsPartialObjectMetadata(m)
	p.SetGroupVersionKind(partialGVK)
	return p, nil
}

// success answers a write that has no object to show.
func success(c echo.Context, code int, details *metav1.StatusDetails) error {
	s := &metav1.Status{Status: metav1.StatusSuccess, Code: int32(code), Details: details}
	s.SetGroupVersionKind(statusGVK)
	return writeStatus(c, s)
}
