package api

import (
	"strings"
	"testing"
)

func TestParseImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0f", 32)
	cases := []struct {
		in   string
		want Image
		bad  bool
	}{
		{in: "hello", want: Image{Repository: "hello"}},
		{in: "default/hello:v1", want: Image{Repository: "default/hello", Tag: "v1"}},
		{in: "registry.petrel.internal/default/hello@" + digest, want: Image{Host: RegistryHost, Repository: "default/hello", Digest: digest}},
		{in: "localhost:5000/a/b:t@" + digest, want: Image{Host: "localhost:5000", Repository: "a/b", Tag: "t", Digest: digest}},
		{in: "localhost/a", want: Image{Host: "localhost", Repository: "a"}},
		{in: "[::1]:5000/a", want: Image{Host: "[::1]:5000", Repository: "a"}},
		{in: "127.0.0.1:8080/a_b/c--d", want: Image{Host: "127.0.0.1:8080", Repository: "a_b/c--d"}},
		{in: "", bad: true},
		{in: "Hello", bad: true},
		{in: "a b", bad: true},
		{in: "a:", bad: true},
		{in: "a@sha256:00", bad: true},
		{in: "a@" + strings.ToUpper(digest), bad: true},
		{in: "a//b", bad: true},
		{in: "../etc", bad: true},
		{in: "x..y/a", bad: false, want: Image{Host: "x..y", Repository: "a"}},
		{in: "host:port/a", bad: true},
		{in: strings.Repeat("a", MaxImageLength+1), bad: true},
	}
	for _, c := range cases {
		got, err := ParseImage(c.in)
		if (err != nil) != c.bad {
			t.Errorf("%q: error %v", c.in, err)
			continue
		}
		if err == nil && got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.in, got, c.want)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	for _, s := range []string{"hello", "a/b:c", "h.io/a@sha256:" + strings.Repeat("0", 64), "[::1]:1/a", "a@", "/", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		img, err := ParseImage(s)
		if err != nil {
			return
		}
		again, err := ParseImage(img.String())
		if err != nil || again != img {
			t.Fatalf("%q became %q: %+v, %v", s, img.String(), again, err)
		}
	})
}
