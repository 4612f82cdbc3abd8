package store

import (
	"strings"
	"testing"
)

func TestTokenRoundTrip(t *testing.T) {
	namespaced, global := testResource("as", "A"), testResource("bs", "B")
	global.Namespaced = false
	for _, c := range []struct {
		r         *Resource
		namespace string
		token     token
	}{
		{namespaced, "", token{Revision: 1, After: "ns/a"}},
		{namespaced, "ns", token{Revision: 1 << 60, After: "ns/" + strings.Repeat("n", maxSegmentBytes)}},
		{namespaced, "ns", token{Revision: anyRevision, After: "ns/ä\"\\"}},
		{global, "", token{Revision: 7, After: "a"}},
	} {
		text := c.token.encode()
		got, err := decodeToken(c.r, c.namespace, text)
		c.token.Version = tokenVersion
		if err != nil || got != c.token {
			t.Errorf("%+v became %+v, %v", c.token, got, err)
		}
	}
	long := strings.Repeat("n", maxSegmentBytes)
	if n := len(token{Revision: 1<<63 - 1, After: long + "/" + long}.encode()); n > maxTokenBytes {
		t.Errorf("the longest token takes %d bytes, more than are read", n)
	}
	if _, err := decodeToken(global, "", token{Revision: 7, After: "a/b"}.encode()); err == nil {
		t.Error("a namespaced place was taken for a resource without namespaces")
	}
}

// FuzzToken holds any text that passes for a token to its place: the keys that a list would read from there on are the
// resource's own, and the namespace's where the list is of one.
func FuzzToken(f *testing.F) {
	for _, t := range []token{
		{Revision: 1, After: "ns/a"}, {Revision: anyRevision, After: "ns/a"}, {Revision: 1, After: "ns/../x"},
		{Revision: 1, After: "other/a"}, {Revision: 0, After: "ns/a"}, {Revision: 1, After: "ns/a\x00"},
	} {
		f.Add(t.encode(), "ns")
		f.Add(t.encode(), "")
	}
	f.Add("", "")
	f.Add("e30", "ns")
	r := testResource("as", "A")
	f.Fuzz(func(t *testing.T, text, namespace string) {
		tok, err := decodeToken(r, namespace, text)
		if err != nil {
			return
		}
		table, object, ok := splitTablePath(registryPrefix + tablePath(r) + "/" + tok.After)
		if !ok || table != tablePath(r) || object != tok.After {
			t.Errorf("%q leads to %q of %q", text, object, table)
		}
		in, name, err := splitObjectKey(r, tok.After)
		if err != nil || strings.Contains(name, "/") || namespace != "" && in != namespace {
			t.Errorf("%q leads to %q in %q: %v", text, name, in, err)
		}
		if tok.Revision <= 0 && tok.Revision != anyRevision {
			t.Errorf("%q is of revision %d", text, tok.Revision)
		}
		if again, err := decodeToken(r, namespace, tok.encode()); err != nil || again != tok {
			t.Errorf("%+v became %+v, %v", tok, again, err)
		}
	})
}
