package output

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// split answers the lines of a text that comes as the reader gives it.
func split(r io.Reader) (lines []string) {
	_ = eachLine(r, func(line []byte) {
		lines = append(lines, string(line))
		_ = append(line, 'X') // as the relay does where the newline was
	})
	return lines
}

func TestEachLine(t *testing.T) {
	long, over := strings.Repeat("l", maxRecord), strings.Repeat("o", maxRecord+1)
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"nothing":       {"", nil},
		"lines":         {"a\n\nb\n", []string{"a", "", "b"}},
		"no end":        {"a\nb", []string{"a"}},
		"longest":       {"a\n" + long + "\nb\n", []string{"a", long, "b"}},
		"too long":      {"a\n" + over + "\nb\n", []string{"a", "b"}},
		"far too long":  {over + over + over + "\n" + over + "\nb\n", []string{"b"}},
		"many":          {strings.Repeat("0123456789\n", 9000), slices.Repeat([]string{"0123456789"}, 9000)},
		"a full buffer": {strings.Repeat("x", waitSize-1) + "\ny\n", []string{strings.Repeat("x", waitSize-1), "y"}},
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(tt.text), "bytes": iotest.OneByteReader(strings.NewReader(tt.text)), "halves": iotest.HalfReader(strings.NewReader(tt.text))} {
			if got := split(r); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %s: %d lines, want %d", name, how, len(got), len(tt.want))
			}
		}
	}
}

func FuzzEachLine(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), byte(1))
	f.Fuzz(func(t *testing.T, text []byte, step byte) {
		var want []string
		for _, line := range bytes.SplitAfter(text, []byte{'\n'}) {
			if line, ok := bytes.CutSuffix(line, []byte{'\n'}); ok && len(line) <= maxRecord {
				want = append(want, string(line))
			}
		}
		var s splitter
		var got []string
		for chunk := range slices.Chunk(bytes.Clone(text), int(step)+1) {
			s.take(chunk, func(line []byte) { got = append(got, string(line)) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q in steps of %d: %q, want %q", text, int(step)+1, got, want)
		}
	})
}
