package main

import (
	"maps"
	"strings"
)

// document is a JSON document as it is.
type document = map[string]any

// cut leaves the served paths and what they refer to; sections are the parts of the document that hold what can be
// referred to, each as the list of keys that leads there.
func cut(doc document, sections ...[]string) {
	paths, _ := doc["paths"].(document)
	for path := range paths {
		if !keeps(path) {
			delete(paths, path)
			continue
		}
		if strings.HasPrefix(path, "/api/v1/nodes/") && strings.HasSuffix(strings.TrimSuffix(path, "/{path}"), "/proxy") {
			item, _ := paths[path].(document)
			maps.DeleteFunc(item, func(method string, _ any) bool { return method != "get" && method != "parameters" })
		}
	}
	dropEncodings(doc)
	used := map[string]bool{}
	mark(doc, paths, used)
	for _, keys := range sections {
		section := at(doc, keys)
		maps.DeleteFunc(section, func(name string, _ any) bool {
			return !used["#/"+strings.Join(keys, "/")+"/"+name]
		})
	}
}

func at(doc document, keys []string) document {
	for _, key := range keys {
		doc, _ = doc[key].(document)
	}
	return doc
}

// mark follows every reference below v.
func mark(doc document, v any, used map[string]bool) {
	switch v := v.(type) {
	case document:
		if ref, ok := v["$ref"].(string); ok && !used[ref] {
			used[ref] = true
			keys := strings.Split(strings.TrimPrefix(ref, "#/"), "/")
			mark(doc, at(doc, keys), used)
		}
		for _, child := range v {
			mark(doc, child, used)
		}
	case []any:
		for _, child := range v {
			mark(doc, child, used)
		}
	}
}

// dropEncodings takes out CBOR, which is not served: as a key of version 3's content, as an entry of version 2's lists.
func dropEncodings(v any) {
	switch v := v.(type) {
	case document:
		maps.DeleteFunc(v, func(key string, _ any) bool { return isCBOR(key) })
		for key, child := range v {
			if list, ok := child.([]any); ok && (key == "consumes" || key == "produces") {
				v[key] = withoutCBOR(list)
				continue
			}
			dropEncodings(child)
		}
	case []any:
		for _, child := range v {
			dropEncodings(child)
		}
	}
}

func withoutCBOR(list []any) []any {
	var out []any
	for _, item := range list {
		if s, ok := item.(string); !ok || !isCBOR(s) {
			out = append(out, item)
		}
	}
	return out
}

func isCBOR(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/") && strings.Contains(mediaType, "cbor")
}
