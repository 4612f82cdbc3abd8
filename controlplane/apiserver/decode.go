package apiserver

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// decoders read bodies. They do not set defaults: that is the registry's.
type decoders struct {
	json, strictJSON runtime.Decoder
	yaml, strictYAML runtime.Decoder
	protobuf         runtime.Decoder
}

func newDecoders(scheme *runtime.Scheme) *decoders {
	text := func(yaml, strict bool) runtime.Decoder {
		return serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme,
			serializer.SerializerOptions{Yaml: yaml, Strict: strict})
	}
	return &decoders{
		json: text(false, false), strictJSON: text(false, true),
		yaml: text(true, false), strictYAML: text(true, true),
		protobuf: protobuf.NewSerializer(scheme, scheme),
	}
}

// pick finds the decoder for a Content-Type; no type is JSON.
func (d *decoders) pick(contentType string, strict bool, allowProtobuf bool) (runtime.Decoder, error) {
	kind := contentJSON
	if contentType != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, unsupportedMedia(fmt.Sprintf("Content-Type %q cannot be read: %v", contentType, err))
		}
	}
	switch {
	case kind == contentJSON && strict:
		return d.strictJSON, nil
	case kind == contentJSON:
		return d.json, nil
	case kind == contentYAML && strict:
		return d.strictYAML, nil
	case kind == contentYAML:
		return d.yaml, nil
	case kind == contentProtobuf && allowProtobuf:
		return d.protobuf, nil
	}
	return nil, unsupportedMedia(fmt.Sprintf("Content-Type %q is not supported here; send %s or %s", contentType, contentJSON, contentYAML))
}

// readBody reads a body up to the limit, which the limiting middleware has set.
func readBody(c echo.Context) ([]byte, error) {
	body, err := io.ReadAll(c.Request().Body)
	if err == nil || errors.As(err, new(*http.MaxBytesError)) {
		return body, err
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("read body: %v", err))
}

// decode reads the body as an object of the kind; what the kind does not know is refused, told or ignored as the
// client asked.
func (s *Server) decode(c echo.Context, gvk schema.GroupVersionKind, call resource.Call) (runtime.Object, error) {
	body, err := readBody(c)
	if err != nil {
		return nil, err
	}
	empty, err := resource.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	_, allowProtobuf := empty.(marshaler)
	strict := call.FieldValidation != metav1.FieldValidationIgnore
	decoder, err := s.decoders.pick(c.Request().Header.Get("Content-Type"), strict, allowProtobuf)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, apierrors.NewBadRequest("the body is empty; an object of kind " + gvk.Kind + " is expected")
	}
	obj, got, err := decoder.Decode(body, &gvk, nil)
	if unknown, ok := runtime.AsStrictDecodingError(err); ok && obj != nil {
		if call.FieldValidation == metav1.FieldValidationStrict {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, unknown))
		}
		for _, e := range unknown.Errors() {
			call.Warn(e.Error())
		}
		err = nil
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
	}
	if *got != gvk {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the body holds a %s of %s, but this is the place of %s of %s",
			got.Kind, got.GroupVersion(), gvk.Kind, gvk.GroupVersion()))
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}
