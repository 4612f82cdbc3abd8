package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/utils/ptr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// entry is a record written n seconds after the epoch.
func entry(n int, tag, content string) string {
	return fmt.Sprintf("%s stdout %s %s\n", epoch.Add(time.Duration(n)*time.Second).Format(time.RFC3339Nano), tag, content)
}

const sample = 7

// sampleLog is three lines, the second in three parts, and one that is no record.
func sampleLog() string {
	return entry(0, "F", "one") + entry(1, "P", "t") + entry(2, "P", "w") + entry(3, "F", "o") + "torn line\n" + entry(5, "F", "") + entry(6, "F:x", "last")
}

func writeLog(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string, o Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := Copy(t.Context(), &out, func() {}, path, o, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestStreams reads one stream of two whose parts of lines are mixed.
func TestStreams(t *testing.T) {
	onErr := func(line string) string { return strings.Replace(line, " stdout ", " stderr ", 1) }
	path := writeLog(t, entry(0, "P", "o")+onErr(entry(1, "P", "e"))+entry(2, "F", "ut")+onErr(entry(3, "F", "rr"))+entry(4, "F", "end"))
	for stream, want := range map[string]string{"stdout": "out\nend\n", "stderr": "err\n"} {
		if got := read(t, path, Options{Stream: stream}); got != want {
			t.Errorf("%s: %q, want %q", stream, got, want)
		}
	}
}

func TestCopy(t *testing.T) {
	path := writeLog(t, sampleLog())
	stamp := func(n int) string { return epoch.Add(time.Duration(n)*time.Second).Format(time.RFC3339Nano) + " " }
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"all":           {Options{}, "one\ntwo\ntorn line\n\nlast\n"},
		"timestamps":    {Options{Timestamps: true}, stamp(0) + "one\n" + stamp(1) + "two\ntorn line\n" + stamp(5) + "\n" + stamp(6) + "last\n"},
		"tail 0":        {Options{Tail: ptr.To[int64](0)}, ""},
		"tail 1":        {Options{Tail: ptr.To[int64](1)}, "last\n"},
		"tail 3":        {Options{Tail: ptr.To[int64](3)}, "torn line\n\nlast\n"},
		"tail in parts": {Options{Tail: ptr.To[int64](4)}, "two\ntorn line\n\nlast\n"},
		"tail all":      {Options{Tail: ptr.To[int64](5)}, "one\ntwo\ntorn line\n\nlast\n"},
		"tail more":     {Options{Tail: ptr.To[int64](99)}, "one\ntwo\ntorn line\n\nlast\n"},
		"since":         {Options{Since: epoch.Add(5 * time.Second)}, "torn line\n\nlast\n"},
		"limit":         {Options{LimitBytes: ptr.To[int64](5)}, "one\nt"},
		"limit exact":   {Options{LimitBytes: ptr.To[int64](4)}, "one\n"},
	} {
		if got := read(t, path, test.options); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestTailAcrossBlocks(t *testing.T) {
	var all strings.Builder
	const lines = 3000
	for i := range lines {
		all.WriteString(entry(i, "F", strings.Repeat("x", i%200)+fmt.Sprintf("-%d", i)))
	}
	path := writeLog(t, all.String())
	whole := strings.SplitAfter(read(t, path, Options{}), "\n")
	for _, n := range []int64{1, 2, 777, 1500, lines - 1, lines, lines + 1} {
		want := strings.Join(whole[max(0, lines-n):], "")
		if got := read(t, path, Options{Tail: &n}); got != want {
			t.Errorf("tail %d: %d bytes, want %d", n, len(got), len(want))
		}
	}
}

func TestLongAndUnfinishedLines(t *testing.T) {
	long := strings.Repeat("y", 300<<10)
	if got := read(t, writeLog(t, entry(0, "F", long)), Options{}); got != long+"\n" {
		t.Errorf("a line of %d bytes came out with %d", len(long), len(got))
	}
	if got := read(t, writeLog(t, strings.TrimSuffix(entry(0, "F", "cut"), "\n")), Options{}); got != "cut\n" {
		t.Errorf("unfinished line = %q", got)
	}
	huge := strings.Repeat("z", 3<<20)
	if got := read(t, writeLog(t, huge), Options{}); strings.ReplaceAll(got, "\n", "") != huge {
		t.Errorf("a line of 3 MiB came out with %d bytes", len(got))
	}
}

func TestMissingLog(t *testing.T) {
	err := Copy(t.Context(), &bytes.Buffer{}, func() {}, "/no/such/log", Options{Follow: true}, func() bool { return false })
	if !os.IsNotExist(unwrapped(err)) {
		t.Errorf("error = %v, want one that says it does not exist", err)
	}
}

func unwrapped(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		if os.IsNotExist(err) {
			return err
		}
		err = inner.Unwrap()
	}
}

// follower collects what a follow writes.
type follower struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(p)
}

func (f *follower) wait(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		got := f.out.String()
		f.mu.Unlock()
		if got == want {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Fatalf("follower has %q, want %q", f.out.String(), want)
}

func appendTo(t *testing.T, path, content string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var alive atomic.Bool
	alive.Store(true)
	f := &follower{}
	done := make(chan error, 1)
	go func() { done <- Copy(t.Context(), f, func() {}, path, Options{Follow: true}, alive.Load) }()
	appendTo(t, path, entry(0, "F", "a"))
	f.wait(t, "a\n")
	half := entry(1, "F", "b")
	appendTo(t, path, half[:20])
	appendTo(t, path, half[20:])
	f.wait(t, "a\nb\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", entry(2, "F", "c")) // the runtime had not reopened yet
	appendTo(t, path, entry(3, "F", "d, longer"))
	f.wait(t, "a\nb\nc\nd, longer\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, entry(4, "F", "e"))
	f.wait(t, "a\nb\nc\nd, longer\ne\n")
	appendTo(t, path, entry(5, "F", "last words"))
	alive.Store(false)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the follow goes on after the container's end")
	}
	f.wait(t, "a\nb\nc\nd, longer\ne\nlast words\n")
}

func TestFollowEndsWithItsContext(t *testing.T) {
	path := writeLog(t, entry(0, "F", "a"))
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{}
	done := make(chan error, 1)
	go func() {
		done <- Copy(ctx, f, func() {}, path, Options{Follow: true, Tail: ptr.To[int64](sample)}, func() bool { return true })
	}()
	f.wait(t, "a\n")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("a client that goes away is an error: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range strings.Split(sampleLog(), "\n") {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		record, err := Parse(line)
		if err != nil {
			return
		}
		if record.Stream != "stdout" && record.Stream != "stderr" || record.Time.IsZero() && !bytes.HasPrefix(line, []byte("0001")) {
			t.Errorf("%q was parsed as %+v", line, record)
		}
		if !bytes.HasSuffix(line, record.Content) {
			t.Errorf("content %q is not the end of %q", record.Content, line)
		}
	})
}

func FuzzTail(f *testing.F) {
	f.Add(sampleLog(), int64(2))
	f.Fuzz(func(t *testing.T, content string, n int64) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		whole, tail := read(t, path, Options{}), read(t, path, Options{Tail: &n})
		if !strings.HasSuffix(whole, tail) {
			t.Errorf("the last %d lines, %q, are not the end of %q", n, tail, whole)
		}
	})
}

// TestRotatedBetweenTwoLooks has a file renamed right after the follower saw its end: what came into it since is not lost.
func TestRotatedBetweenTwoLooks(t *testing.T) {
	path := writeLog(t, entry(0, "F", "a"))
	var out bytes.Buffer
	o := Options{Follow: true}
	c := &copier{ctx: t.Context(), out: &printer{w: &out, options: o}, flush: func() {}, path: path, options: o, alive: func() bool { return true }}
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.file.Close() }()
	if err := c.drain(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, entry(1, "F", "b"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, entry(2, "F", "c"))
	if again, err := c.rotated(); err != nil || !again {
		t.Fatalf("rotated = %v, %v", again, err)
	}
	if err := c.drain(); err != nil || out.String() != "a\nb\nc\n" {
		t.Errorf("the follower has %q, %v", out.String(), err)
	}
}
