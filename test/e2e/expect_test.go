package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// contains asks that a text contains each of the others.
func contains(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// lacks asks that a text contains none of the others.
func lacks(t testing.TB, text string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if strings.Contains(text, u) {
			t.Errorf("%q in:\n%s", u, text)
		}
	}
}

// matches asks that a text matches each expression, in which ^ and $ are the ends of a line.
func matches(t testing.TB, text string, expressions ...string) {
	t.Helper()
	for _, e := range expressions {
		if !regexp.MustCompile("(?m)" + e).MatchString(text) {
			t.Errorf("no match of %q in:\n%s", e, text)
		}
	}
}

// equal asks that two values are the same.
func equal[V comparable](t testing.TB, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
