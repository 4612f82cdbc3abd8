package guest

import (
	"net/http"
	"net/url"
	"reflect"
	"testing"
)

// FuzzParsePlain holds the short way to what package url says.
func FuzzParsePlain(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a?b=c&d", "/?", "/a?", "/a b", "/a%20b", "//x", "/a#b", "/a?b#c", "*", "", "/é", "/a?\x7f", "/a;b,c:d@e", "/a?b?c", "/a%zz", "/a?%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		var got url.URL
		if !parsePlain(&got, uri) {
			if got != (url.URL{}) {
				t.Errorf("%q: refused, and it became %+v", uri, got)
			}
			return
		}
		want, err := parseURI(http.MethodGet, uri)
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("%q: %+v, want %+v, %v", uri, got, want, err)
		}
	})
}
