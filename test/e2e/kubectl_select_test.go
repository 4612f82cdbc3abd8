package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSelectorsAndPages lists many objects: by labels, by fields, and a page at a time.
func TestSelectorsAndPages(t *testing.T) {
	w := newWorld(t)
	const objects = 60
	var manifest strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifest, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: item-%02d, labels: {tier: %c, number: \"%d\"}}\n", i, "abc"[i%3], i)
	}
	w.kubectlIn(manifest.String(), "create", "-f", "-")

	for _, c := range []struct {
		selector string
		want     int
	}{
		{"tier=a", 20},
		{"tier!=a,tier", 40},
		{"tier in (a, b)", 40},
		{"tier in (a,b),number notin (0,1)", 38},
		{"!tier", 0},
		{"number=7", 1},
	} {
		equal(t, c.selector, count(w, "get", "configmaps", "-l", c.selector, "-o", "name"), c.want)
	}
	equal(t, "field selector", w.kubectl("get", "configmaps", "--field-selector", "metadata.name=item-07", "-o", "name"), "configmap/item-07\n")
	equal(t, "in chunks of 7", count(w, "get", "configmaps", "--chunk-size=7", "-l", "tier", "-o", "name"), objects)

	path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps?limit=25", w.ns)
	first := parse[corev1.ConfigMapList](w, w.kubectl("get", "--raw", path))
	equal(t, "first page", len(first.Items), 25)
	if first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount < objects-25 {
		t.Fatalf("first page says continue %q, remaining %v", first.Continue, first.RemainingItemCount)
	}
	// What is made after the first page must not slip into the pages after it.
	w.kubectl("create", "configmap", "item-99", "--from-literal=tier=late")
	second := parse[corev1.ConfigMapList](w, w.kubectl("get", "--raw", path+"&continue="+first.Continue))
	third := parse[corev1.ConfigMapList](w, w.kubectl("get", "--raw", path+"&continue="+second.Continue))
	equal(t, "revision of the second page", second.ResourceVersion, first.ResourceVersion)
	seen := map[string]bool{}
	for _, page := range []corev1.ConfigMapList{first, second, third} {
		for _, item := range page.Items {
			if seen[item.Name] || item.Name == "item-99" {
				t.Errorf("%s is twice or too late on the pages", item.Name)
			}
			seen[item.Name] = true
		}
	}
	equal(t, "end of the pages", third.Continue, "")
	for i := range objects {
		if name := fmt.Sprintf("item-%02d", i); !seen[name] {
			t.Errorf("%s is on no page", name)
		}
	}

	w.kubectl("delete", "configmaps", "-l", "tier=a")
	equal(t, "left after a deletion by label", count(w, "get", "configmaps", "-l", "tier", "-o", "name"), 40)
	w.kubectl("delete", "configmaps", "--all")
	equal(t, "left after --all", count(w, "get", "configmaps", "-l", "tier", "-o", "name"), 0)
}

// count answers how many lines kubectl prints.
func count(w *world, args ...string) int {
	w.Helper()
	return strings.Count(w.kubectl(args...), "\n")
}
