package store

import "testing"

func TestSplitTablePath(t *testing.T) {
	for _, c := range []struct {
		key, table, object string
		ok                 bool
	}{
		{"/registry/core/pods/ns/a", "core/pods", "ns/a", true},
		{"/registry/apps/deployments/ns/a", "apps/deployments", "ns/a", true},
		{"/registry/core/nodes/a", "core/nodes", "a", true},
		{"/registry/core/nodes/", "core/nodes", "", true},
		{"/registry/core/nodes", "", "", false},
		{"/registry/core", "", "", false},
		{"/registry/", "", "", false},
		{"/other/core/nodes/a", "", "", false},
		{"", "", "", false},
	} {
		if table, object, ok := splitTablePath(c.key); table != c.table || object != c.object || ok != c.ok {
			t.Errorf("%q: %q, %q, %t", c.key, table, object, ok)
		}
	}
}

// FuzzObjectKey holds every name that is accepted to the place it is given: no two share one, none reaches out of its
// own.
func FuzzObjectKey(f *testing.F) {
	f.Add("ns", "a")
	f.Add("..", "a")
	f.Add("ns", "a/b")
	f.Add("", "")
	r := testResource("as", "A")
	f.Fuzz(func(t *testing.T, namespace, name string) {
		key, err := objectKey(r, namespace, name)
		if err != nil {
			return
		}
		ns, n, err := splitObjectKey(r, key)
		if err != nil || ns != namespace || n != name {
			t.Errorf("%q, %q became %q, %q, %v", namespace, name, ns, n, err)
		}
		if table, object, ok := splitTablePath(registryPrefix + tablePath(r) + "/" + key); !ok || table != tablePath(r) || object != key {
			t.Errorf("%q, %q is found at %q of %q", namespace, name, object, table)
		}
	})
}
