package jointoken

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	tests := []struct{ name, in, wrong string }{
		{name: "whole", in: "petrel1::" + hash + "::abc123.0123456789abcdef"},
		{name: "with a line's end", in: " petrel1::" + hash + "::abc123.0123456789abcdef\n"},
		{name: "empty", wrong: "form"},
		{name: "kubeadm's", in: "abc123.0123456789abcdef", wrong: "form"},
		{name: "another version", in: "petrel2::" + hash + "::abc123.0123456789abcdef", wrong: "form"},
		{name: "a part too many", in: "petrel1::" + hash + "::abc123.0123456789abcdef::x", wrong: "form"},
		{name: "short hash", in: "petrel1::abc::abc123.0123456789abcdef", wrong: "hash"},
		{name: "upper case hash", in: "petrel1::" + strings.ToUpper(hash) + "::abc123.0123456789abcdef", wrong: "hash"},
		{name: "no secret", in: "petrel1::" + hash + "::abc123", wrong: "ID.SECRET"},
		{name: "short secret", in: "petrel1::" + hash + "::abc123.012345", wrong: "ID.SECRET"},
		{name: "upper case secret", in: "petrel1::" + hash + "::abc123.0123456789ABCDEF", wrong: "ID.SECRET"},
		{name: "long id", in: "petrel1::" + hash + "::abc1234.0123456789abcdef", wrong: "ID.SECRET"},
		{name: "two dots", in: "petrel1::" + hash + "::abc123.01234567.9abcdef", wrong: "ID.SECRET"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if tt.wrong == "" {
				if err != nil || got.CAHash != hash || got.ID != "abc123" || got.Secret != "0123456789abcdef" {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("got %v, want an error over %s", err, tt.wrong)
			}
			if strings.Contains(err.Error(), "0123456789") || strings.Contains(err.Error(), "012345") {
				t.Fatalf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestNewTokensDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		b, err := New()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseBootstrap(b.String()); err != nil || again != b {
			t.Fatalf("%v is no token: %v", b, err)
		}
		if seen[b.Secret] {
			t.Fatal("a secret came twice")
		}
		seen[b.Secret] = true
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("token", "bootstrap", b, "join", Token{CAHash: hash, Bootstrap: b})
	if strings.Contains(out.String(), b.Secret) || !strings.Contains(out.String(), b.ID) {
		t.Fatal(out.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"petrel1::" + hash + "::abc123.0123456789abcdef", "", "::", "petrel1::::.", "petrel1::" + hash + "::a.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Parse(s)
		if err != nil {
			return
		}
		if token.String() != strings.TrimSpace(s) {
			t.Fatalf("%q became %q", s, token.String())
		}
		if again, err := Parse(token.String()); err != nil || again != token {
			t.Fatalf("%q is read once and not again: %v", s, err)
		}
	})
}
