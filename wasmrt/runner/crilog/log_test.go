package crilog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func fixed() time.Time { return epoch }

const stamp = "2026-01-02T03:04:05.000000006Z "

func newLog(t *testing.T) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pod", "container", "0.log")
	l := New(path, fixed)
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStreamSplitsLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	tests := []struct {
		name   string
		writes []string
		want   []string // after Close
	}{
		{"one line", []string{"hello\n"}, []string{"F hello"}},
		{"two lines in one write", []string{"a\nb\n"}, []string{"F a", "F b"}},
		{"a line in pieces", []string{"he", "llo", "\n"}, []string{"F hello"}},
		{"empty line", []string{"\n"}, []string{"F "}},
		{"no newline at the end", []string{"a\nb"}, []string{"F a", "P b"}},
		{"carriage return stays", []string{"a\r\n"}, []string{"F a\r"}},
		{"exactly the limit", []string{long + "\n"}, []string{"F " + long}},
		{"one over the limit", []string{long + "y\n"}, []string{"P " + long, "F y"}},
		{"over the limit in pieces", []string{long[1:], "yz", "\n"}, []string{"P " + long[1:] + "y", "F z"}},
		{"three times the limit", []string{long + long + long + "\n"}, []string{"P " + long, "P " + long, "F " + long}},
		{"nothing", []string{""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, path := newLog(t)
			s := l.Stream(Stdout)
			for _, w := range tt.writes {
				if n, err := s.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for _, line := range tt.want {
				want.WriteString(stamp + "stdout " + line + "\n")
			}
			if got := read(t, path); got != want.String() {
				t.Errorf("log:\n%.200q\nwant:\n%.200q", got, want.String())
			}
		})
	}
}

func TestLinesAppearBeforeClose(t *testing.T) {
	l, path := newLog(t)
	out, errs := l.Stream(Stdout), l.Stream(Stderr)
	fmt.Fprint(out, "unfinished")
	fmt.Fprintln(errs, "done")
	if got, want := read(t, path), stamp+"stderr F done\n"; got != want {
		t.Errorf("log = %q, want %q: unfinished lines must wait and mix with no other stream", got, want)
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	l, path := newLog(t)
	s := l.Stream(Stdout)
	fmt.Fprintln(s, "old")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(s, "still old")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(s, "new")
	if got, want := read(t, path+".1"), stamp+"stdout F old\n"+stamp+"stdout F still old\n"; got != want {
		t.Errorf("rotated log = %q, want %q", got, want)
	}
	if got, want := read(t, path), stamp+"stdout F new\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	l, path := newLog(t)
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	s := l.Stream(Stdout)
	if n, err := fmt.Fprint(s, "a\nb\n"); n != 4 || err != nil {
		t.Errorf("Write = %d, %v; the guest must not notice", n, err)
	}
	if got := l.Dropped(); got != 2 {
		t.Errorf("Dropped = %d, want 2", got)
	}
}

func TestNoPathDropsEverything(t *testing.T) {
	l := New("", fixed)
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Stream(Stdout).Write([]byte("x\n")); n != 2 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestConcurrentStreamsKeepTheirLinesWhole(t *testing.T) {
	l, path := newLog(t)
	const writers, lines = 8, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := l.Stream(Stdout)
			for range lines {
				for _, piece := range []string{strings.Repeat(string(rune('a'+w)), 10), strings.Repeat(string(rune('a'+w)), 10), "\n"} {
					fmt.Fprint(s, piece)
				}
			}
		})
	}
	wg.Wait()
	got := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	if len(got) != writers*lines {
		t.Fatalf("%d lines, want %d", len(got), writers*lines)
	}
	for _, line := range got {
		content := strings.TrimPrefix(line, stamp+"stdout F ")
		if content != strings.Repeat(content[:1], 20) {
			t.Fatalf("line %q mixes streams", line)
		}
	}
}

// FuzzStream checks that joining the records gives the guest's bytes back, however they were cut.
func FuzzStream(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), MaxLine+2), uint16(MaxLine-1))
	f.Add([]byte("\n\n"), uint16(7))
	path := filepath.Join(f.TempDir(), "log")
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		if err := os.WriteFile(path, nil, filePerm); err != nil {
			t.Fatal(err)
		}
		l := New(path, fixed)
		s := l.Stream(Stdout)
		at := min(int(cut), len(data))
		_, _ = s.Write(data[:at])
		_, _ = s.Write(data[at:])
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil && len(data) > 0 {
			t.Fatal(err)
		}
		var joined []byte
		for len(raw) > 0 {
			end := bytes.IndexByte(raw, '\n')
			line, ok := bytes.CutPrefix(raw[:end], []byte(stamp+"stdout "))
			if !ok || len(line)-2 > MaxLine {
				t.Fatalf("bad record %.80q of %d bytes", raw[:end], len(line))
			}
			joined = append(joined, line[2:]...)
			if line[0] == 'F' {
				joined = append(joined, '\n')
			}
			raw = raw[end+1:]
		}
		if !bytes.Equal(joined, data) {
			t.Fatalf("joined %.80q, want %.80q", joined, data)
		}
	})
}
