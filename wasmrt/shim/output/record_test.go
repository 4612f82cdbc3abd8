package output

import (
	"bytes"
	"testing"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]*record{
		"2026-01-02T03:04:05.000000006Z stdout F hello world": {content: []byte("hello world")},
		"t stderr P ":       {stderr: true, partial: true, content: []byte{}},
		"t stdout F  a":     {content: []byte(" a")},
		"t stdout F":        nil,
		"t stdin F x":       nil,
		"t stdout X x":      nil,
		" stdout F x":       nil,
		"":                  nil,
		"t stdout FF x":     nil,
		"t stdout F a\x00b": {content: []byte("a\x00b")},
	} {
		got, err := parse([]byte(line))
		if (err == nil) != (want != nil) {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if want != nil && (got.stderr != want.stderr || got.partial != want.partial || !bytes.Equal(got.content, want.content)) {
			t.Errorf("%q: %+v, want %+v", line, got, *want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.000000006Z stdout F hello world"))
	f.Add([]byte("t stderr P "))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parse(line)
		if err != nil {
			return
		}
		stream, tag := "stdout", "F"
		if r.stderr {
			stream = "stderr"
		}
		if r.partial {
			tag = "P"
		}
		if want := " " + stream + " " + tag + " " + string(r.content); !bytes.HasSuffix(line, []byte(want)) {
			t.Errorf("%q read as %q", line, want)
		}
	})
}
