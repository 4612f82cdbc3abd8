package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// ownDocument describes Petrel's own group in one version of OpenAPI.
type ownDocument struct {
	paths       map[string]any
	definitions map[string]any
}

const (
	refV2 = "#/definitions/"
	refV3 = "#/components/schemas/"
)

// own describes the group; ref is where this version keeps schemas.
func own(ref string) ownDocument {
	doc := ownDocument{paths: map[string]any{}, definitions: map[string]any{}}
	for name, s := range resource.OwnSchemas() {
		body, err := json.Marshal(s)
		if err != nil {
			panic(fmt.Sprintf("encode schema %s: %v", name, err)) // made of plain values
		}
		doc.definitions[name] = json.RawMessage(bytes.ReplaceAll(body, []byte(`"#/definitions/`), []byte(`"`+ref)))
	}
	for _, d := range resource.Definitions() {
		if d.GVR.Group == api.GroupName {
			doc.describe(d, ref)
		}
	}
	return doc
}

// describe adds the paths of one resource.
func (doc ownDocument) describe(d *resource.Definition, ref string) {
	collection := root(d.GVR.GroupVersion()) + "/namespaces/{namespace}/" + d.GVR.Resource
	object := collection + "/{name}"
	doc.paths[root(d.GVR.GroupVersion())+"/"+d.GVR.Resource] = map[string]any{
		"get": operation(d, "list", "", "AllNamespaces", ref),
	}
	doc.paths[collection] = map[string]any{
		"parameters": pathParameters(ref, "namespace"),
		"get":        operation(d, "list", "", "", ref),
		"post":       operation(d, "create", "", "", ref),
		"delete":     operation(d, "deletecollection", "", "", ref),
	}
	doc.paths[object] = map[string]any{
		"parameters": pathParameters(ref, "namespace", "name"),
		"get":        operation(d, "get", "", "", ref),
		"put":        operation(d, "update", "", "", ref),
		"patch":      operation(d, "patch", "", "", ref),
		"delete":     operation(d, "delete", "", "", ref),
	}
	for _, sub := range d.Subresources {
		doc.paths[object+"/"+sub.Name] = map[string]any{
			"parameters": pathParameters(ref, "namespace", "name"),
			"get":        operation(d, "get", sub.Name, "", ref),
			"put":        operation(d, "update", sub.Name, "", ref),
			"patch":      operation(d, "patch", sub.Name, "", ref),
		}
	}
}

var actions = map[string]string{
	"list": "list", "create": "post", "deletecollection": "deletecollection", "get": "get", "update": "put", "patch": "patch", "delete": "delete",
}

// queryParameters of each verb, beyond pretty.
var queryParameters = map[string][]string{
	"list":             {"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"},
	"create":           {"dryRun", "fieldManager", "fieldValidation"},
	"update":           {"dryRun", "fieldManager", "fieldValidation"},
	"patch":            {"dryRun", "fieldManager", "fieldValidation", "force"},
	"delete":           {"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"},
	"deletecollection": {"dryRun", "fieldSelector", "gracePeriodSeconds", "labelSelector", "propagationPolicy"},
}

var parameterTypes = map[string]string{
	"allowWatchBookmarks": "boolean", "force": "boolean", "sendInitialEvents": "boolean", "watch": "boolean", "orphanDependents": "boolean",
	"limit": "integer", "timeoutSeconds": "integer", "gracePeriodSeconds": "integer",
}

func operation(d *resource.Definition, verb, subresource, suffix, ref string) map[string]any {
	op := map[string]any{
		"description":                     verb + " objects of kind " + d.GVK.Kind,
		"operationId":                     verb + d.GVK.Kind + strings.ToUpper(subresource[:min(1, len(subresource))]) + subresource[min(1, len(subresource)):] + suffix,
		"x-kubernetes-action":             actions[verb],
		"x-kubernetes-group-version-kind": gvkObject(d.GVK),
		"responses":                       responses(d, verb, ref),
	}
	var params []any
	for _, name := range append([]string{"pretty"}, queryParameters[verb]...) {
		params = append(params, parameter(ref, name, "query"))
	}
	switch verb {
	case "create", "update", "patch":
		if ref == refV3 {
			op["requestBody"] = map[string]any{"content": bodyTypes(d, verb, ref)}
		} else {
			params = append(params, map[string]any{"name": "body", "in": "body", "required": true, "schema": objectSchema(d, verb, ref)})
		}
	}
	op["parameters"] = params
	return op
}

func gvkObject(gvk schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}

func parameter(ref, name, in string) map[string]any {
	p := map[string]any{"name": name, "in": in, "required": in == "path"}
	kind := parameterTypes[name]
	if kind == "" {
		kind = "string"
	}
	if ref == refV3 {
		p["schema"] = map[string]any{"type": kind}
	} else {
		p["type"] = kind
	}
	return p
}

func pathParameters(ref string, names ...string) []any {
	var out []any
	for _, name := range names {
		out = append(out, parameter(ref, name, "path"))
	}
	return out
}

func objectSchema(d *resource.Definition, verb, ref string) map[string]any {
	if verb == "patch" {
		return map[string]any{"type": "object"}
	}
	name := resource.KindSchema(d.GVK)
	if verb == "list" || verb == "deletecollection" {
		name = resource.KindSchema(d.ListGVK())
	}
	return map[string]any{"$ref": ref + name}
}

func bodyTypes(d *resource.Definition, verb, ref string) map[string]any {
	content := map[string]any{}
	if verb == "patch" {
		for _, t := range resource.PatchTypes(d) {
			content[string(t)] = map[string]any{"schema": objectSchema(d, verb, ref)}
		}
		return content
	}
	for _, t := range []string{contentJSON, contentYAML} {
		content[t] = map[string]any{"schema": objectSchema(d, verb, ref)}
	}
	return content
}

func responses(d *resource.Definition, verb, ref string) map[string]any {
	schemaVerb := verb
	if verb == "patch" {
		schemaVerb = "get"
	}
	ok := map[string]any{"description": "OK"}
	if ref == refV3 {
		ok["content"] = map[string]any{contentJSON: map[string]any{"schema": objectSchema(d, schemaVerb, ref)}}
	} else {
		ok["schema"] = objectSchema(d, schemaVerb, ref)
	}
	return map[string]any{"200": ok}
}

// ownDocumentsV3 are the documents of the group, and of what is asked of nodes, by path below /openapi/v3.
func ownDocumentsV3() map[string]any {
	doc := own(refV3)
	return map[string]any{
		"apis/" + metricsv1.SchemeGroupVersion.String(): usageDocument(),
		"apis/" + api.SchemeGroupVersion.String(): map[string]any{
			"openapi":    "3.0.0",
			"info":       map[string]any{"title": "Petrel", "version": "unversioned"},
			"paths":      doc.paths,
			"components": map[string]any{"schemas": doc.definitions},
		},
	}
}

func ownDocumentV2() ownDocument { return own(refV2) }

// protobuf is the document as the message that client-go reads. Definitions that the document has to which it will
// be appended are left out: they would be there twice.
func (doc ownDocument) protobuf(have map[string]json.RawMessage) ([]byte, error) {
	definitions := maps.Clone(doc.definitions)
	maps.DeleteFunc(definitions, func(name string, _ any) bool { return have[name] != nil })
	body, err := json.Marshal(map[string]any{
		"swagger": "2.0", "info": map[string]any{"title": "Kubernetes", "version": "unversioned"},
		"paths": doc.paths, "definitions": definitions,
	})
	if err != nil {
		return nil, err
	}
	parsed, err := openapi.ParseDocument(body)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", api.GroupName, err)
	}
	return proto.Marshal(parsed)
}
