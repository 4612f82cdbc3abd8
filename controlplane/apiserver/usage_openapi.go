package apiserver

import (
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// object is a schema of an object.
func object(description string, properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "description": description, "properties": properties}
}

func text(description string) map[string]any {
	return map[string]any{"type": "string", "description": description}
}

// usageProperties are what both kinds tell.
func usageProperties() map[string]any {
	return map[string]any{
		"kind": text("Kind of the object."), "apiVersion": text("Version of the schema."),
		"metadata":  object("Name, namespace and labels of the node or the pod.", map[string]any{}),
		"timestamp": text("End of the time that was measured."),
		"window":    text("Length of the time that was measured."),
	}
}

func usageAmounts() map[string]any {
	amounts := object("Processors (cpu) and working set (memory) in use.", nil)
	delete(amounts, "properties")
	amounts["additionalProperties"] = map[string]any{"type": "string"}
	return amounts
}

// usageSchemas describe the two kinds and their lists.
func usageSchemas() map[string]any {
	node, pod := usageProperties(), usageProperties()
	node["usage"] = usageAmounts()
	pod["containers"] = map[string]any{
		"type": "array", "description": "What each container takes.",
		"items": object("What one container takes.", map[string]any{"name": text("Name in the pod's spec."), "usage": usageAmounts()}),
	}
	out := map[string]any{}
	for d, properties := range map[*resource.Definition]map[string]any{nodeUsage: node, podUsage: pod} {
		one := object("What a "+d.GVR.Resource[:len(d.GVR.Resource)-1]+" takes now.", properties)
		one["x-kubernetes-group-version-kind"] = []any{gvkObject(d.GVK)}
		list := object("What all take that were asked for.", map[string]any{
			"items": map[string]any{"type": "array", "items": map[string]any{"$ref": refV3 + usageSchema(d.GVK.Kind)}},
		})
		list["x-kubernetes-group-version-kind"] = []any{gvkObject(d.ListGVK())}
		out[usageSchema(d.GVK.Kind)], out[usageSchema(d.ListGVK().Kind)] = one, list
	}
	return out
}

// usageSchema is the schema's name, as Kubernetes names those of the group.
func usageSchema(kind string) string {
	return "io.k8s.metrics.pkg.apis.metrics." + metricsv1.SchemeGroupVersion.Version + "." + kind
}

func usageOperation(d *resource.Definition, verb, kind string) map[string]any {
	return map[string]any{
		"description": verb + " what " + d.GVR.Resource + " take now", "operationId": verb + kind,
		"x-kubernetes-action": actions[verb], "x-kubernetes-group-version-kind": gvkObject(d.GVK),
		"responses": map[string]any{"200": map[string]any{
			"description": "OK", "content": map[string]any{contentJSON: map[string]any{"schema": map[string]any{"$ref": refV3 + usageSchema(kind)}}},
		}},
	}
}

// usageDocument is the group's document in version 3.
func usageDocument() map[string]any {
	base := root(metricsv1.SchemeGroupVersion)
	list := func(d *resource.Definition, suffix string) map[string]any {
		op := usageOperation(d, "list", d.ListGVK().Kind)
		op["operationId"] = "list" + d.ListGVK().Kind + suffix
		op["parameters"] = []any{parameter(refV3, "labelSelector", "query"), parameter(refV3, "fieldSelector", "query")}
		return op
	}
	return map[string]any{
		"openapi": "3.0.0", "info": map[string]any{"title": "Kubernetes", "version": "unversioned"},
		"paths": map[string]any{
			base + "/nodes":                       map[string]any{"get": list(nodeUsage, "")},
			base + "/nodes/{name}":                map[string]any{"get": usageOperation(nodeUsage, "get", nodeUsage.GVK.Kind), "parameters": pathParameters(refV3, "name")},
			base + "/pods":                        map[string]any{"get": list(podUsage, "ForAllNamespaces")},
			base + "/namespaces/{namespace}/pods": map[string]any{"get": list(podUsage, ""), "parameters": pathParameters(refV3, "namespace")},
			base + "/namespaces/{namespace}/pods/{name}": map[string]any{
				"get": usageOperation(podUsage, "get", podUsage.GVK.Kind), "parameters": pathParameters(refV3, "namespace", "name"),
			},
		},
		"components": map[string]any{"schemas": usageSchemas()},
	}
}
