package store

import (
	"errors"
	"fmt"
	"strings"
)

// registryPrefix is above every key that this package writes or watches.
const registryPrefix = "/registry/"

// tablePath is a resource's part of a key: group and resource. The core group has no name in the API but needs one
// in a path; no API group can be called so, since group names that Kubernetes adds carry a dot and its early ones
// are known.
func tablePath(r *Resource) string {
	if r.GVR.Group == "" {
		return "core/" + r.GVR.Resource
	}
	return r.GVR.Group + "/" + r.GVR.Resource
}

// objectKey is an object's place below its resource's prefix: namespace/name, or the name alone.
func objectKey(r *Resource, namespace, name string) (string, error) {
	if err := checkSegment(name); err != nil {
		return "", fmt.Errorf("name %q: %w", clip(name), err)
	}
	if !r.Namespaced {
		if namespace != "" {
			return "", fmt.Errorf("%s are not namespaced", r.GVR.GroupResource())
		}
		return name, nil
	}
	if err := checkSegment(namespace); err != nil {
		return "", fmt.Errorf("namespace %q: %w", clip(namespace), err)
	}
	return namespace + "/" + name, nil
}

// splitObjectKey undoes objectKey; it refuses what objectKey would not have made.
func splitObjectKey(r *Resource, key string) (namespace, name string, err error) {
	name = key
	if r.Namespaced {
		var found bool
		if namespace, name, found = strings.Cut(key, "/"); !found {
			return "", "", errors.New("namespace is missing")
		}
		if err := checkSegment(namespace); err != nil {
			return "", "", fmt.Errorf("namespace: %w", err)
		}
	}
	if err := checkSegment(name); err != nil {
		return "", "", fmt.Errorf("name: %w", err)
	}
	return namespace, name, nil
}

// checkSegment refuses what would let one part of a key reach into another's place. What names look like beyond
// that is the validation's business.
func checkSegment(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case s == "." || s == "..":
		return errors.New("must not be a dot or two")
	case len(s) > maxSegmentBytes:
		return fmt.Errorf("must not be longer than %d bytes", maxSegmentBytes)
	case strings.ContainsAny(s, "/\x00"):
		return errors.New("must not contain a slash or a zero byte")
	}
	return nil
}

// splitTablePath cuts a key of etcd into the resource's part and the object's.
func splitTablePath(etcdKey string) (table, object string, ok bool) {
	rest, ok := strings.CutPrefix(etcdKey, registryPrefix)
	if !ok {
		return "", "", false
	}
	group := strings.IndexByte(rest, '/')
	if group < 0 {
		return "", "", false
	}
	resource := strings.IndexByte(rest[group+1:], '/')
	if resource < 0 {
		return "", "", false
	}
	cut := group + 1 + resource
	return rest[:cut], rest[cut+1:], true
}

func clip(s string) string {
	const longest = 64 // of a bad name in an error
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
