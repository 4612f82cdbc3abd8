package logrotate

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// container writes to a log until it is told to reopen it.
type container struct {
	t    *testing.T
	path string
	file *os.File
	fail error
}

func newContainer(t *testing.T) *container {
	t.Helper()
	c := &container{t: t, path: filepath.Join(t.TempDir(), "0.log")}
	c.open()
	t.Cleanup(func() { c.file.Close() })
	return c
}

func (c *container) open() {
	c.t.Helper()
	var err error
	if c.file, err = os.OpenFile(c.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) reopen(context.Context, string) error {
	if c.fail != nil {
		return c.fail
	}
	c.file.Close()
	c.open()
	return nil
}

func (c *container) write(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.file, line); err != nil {
		c.t.Fatal(err)
	}
}

// files are those beside the log with what they hold, unpacked.
func (c *container) files() map[string]string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(c.path))
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		file, err := os.Open(filepath.Join(filepath.Dir(c.path), e.Name()))
		if err != nil {
			c.t.Fatal(err)
		}
		var in io.Reader = file
		if strings.HasSuffix(e.Name(), compressed) {
			if in, err = gzip.NewReader(file); err != nil {
				c.t.Fatal(err)
			}
		}
		content, err := io.ReadAll(in)
		if err != nil {
			c.t.Fatal(err)
		}
		file.Close()
		out[e.Name()] = strings.TrimSpace(string(content))
	}
	return out
}

func (c *container) wants(want map[string]string) {
	c.t.Helper()
	got := c.files()
	if len(got) != len(want) {
		c.t.Fatalf("files = %v, want %v", got, want)
	}
	for name, content := range want {
		if got[name] != content {
			c.t.Fatalf("%s holds %q, want %q", name, got[name], content)
		}
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestRotationKeepsTheNewest(t *testing.T) {
	c := newContainer(t)
	for i := range 5 {
		c.write(fmt.Sprint("line ", i))
		if err := rotate(t.Context(), "id", c.path, 2, noon.Add(time.Duration(i)*time.Second), c.reopen); err != nil {
			t.Fatal(err)
		}
	}
	c.write("last")
	c.wants(map[string]string{
		"0.log": "last", "0.log.20260101-120004": "line 4", "0.log.20260101-120003.gz": "line 3",
	})
	if info, err := os.Stat(c.path + ".20260101-120003.gz"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("a compressed log is %v, %v", info.Mode(), err)
	}
	if err := Remove(c.path); err != nil || len(c.files()) != 0 {
		t.Errorf("left are %v, %v", c.files(), err)
	}
	for _, path := range []string{c.path, filepath.Join(t.TempDir(), "none", "0.log")} {
		if err := Remove(path); err != nil {
			t.Errorf("removing what is not there: %v", err)
		}
	}
}

func TestALogThatIsNotReopenedGoesOn(t *testing.T) {
	c := newContainer(t)
	c.write("before")
	c.fail = errors.New("the runtime is away")
	if err := rotate(t.Context(), "id", c.path, 2, noon, c.reopen); !errors.Is(err, c.fail) {
		t.Fatalf("rotate = %v", err)
	}
	c.write("after")
	c.wants(map[string]string{"0.log": "before\nafter"})
}

func TestWhatIsNotALogStays(t *testing.T) {
	c := newContainer(t)
	dir := filepath.Dir(c.path)
	for _, name := range []string{"0.log.txt", "10.log.20260101-110000", "1.log", "0.log.2026"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0.log.20260101-100000", "0.log.20260101-100001.gz.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := rotate(t.Context(), "id", c.path, 1, noon, c.reopen); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range c.files() {
		if !strings.HasSuffix(name, ".gz") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	want := []string{"0.log", "0.log.2026", "0.log.20260101-120000", "0.log.txt", "1.log", "10.log.20260101-110000"}
	if !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
}

func TestTwiceInASecondOverwritesNothing(t *testing.T) {
	c := newContainer(t)
	c.write("first")
	if err := rotate(t.Context(), "id", c.path, 3, noon, c.reopen); err != nil {
		t.Fatal(err)
	}
	c.write("second")
	if err := rotate(t.Context(), "id", c.path, 3, noon, c.reopen); err == nil {
		t.Error("a log was moved over another")
	}
	if got := c.files()["0.log"]; got != "second" {
		t.Errorf("the log holds %q", got)
	}
}

func TestACompressionThatIsBrokenOffLosesNothing(t *testing.T) {
	c := newContainer(t)
	c.write("kept")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := compress(ctx, c.path); !errors.Is(err, context.Canceled) {
		t.Fatalf("compress = %v", err)
	}
	c.wants(map[string]string{"0.log": "kept"})
}

func TestRunRotatesWhatIsTooLong(t *testing.T) {
	long, short, broken := newContainer(t), newContainer(t), newContainer(t)
	for _, c := range []*container{long, broken} {
		c.write(strings.Repeat("x", minSize))
	}
	short.write("x")
	broken.fail = errors.New("gone")
	synctest.Test(t, func(t *testing.T) {
		all := map[string]*container{"broken": broken, "long": long, "short": short}
		r, err := New(Config{
			MaxSize: minSize, MaxFiles: 2, Logger: slog.New(slog.DiscardHandler),
			Logs: func() iter.Seq[Log] {
				return func(yield func(Log) bool) {
					for id, c := range all {
						if !yield(Log{id, c.path}) {
							return
						}
					}
					yield(Log{"gone", filepath.Join(t.TempDir(), "none")})
				}
			},
			Reopen: func(ctx context.Context, id string) error { return all[id].reopen(ctx, id) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(DefaultInterval + time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if n := len(long.files()); n != 2 {
		t.Errorf("the long log has %d files, want 2", n)
	}
	if len(short.files()) != 1 || len(broken.files()) != 1 {
		t.Errorf("short: %v, broken: %v", short.files(), broken.files())
	}
}

func TestConfig(t *testing.T) {
	good := Config{MaxSize: DefaultSize, MaxFiles: DefaultFiles, Logger: slog.New(slog.DiscardHandler),
		Logs: func() iter.Seq[Log] { return nil }, Reopen: func(context.Context, string) error { return nil }}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"tiny logs": func(c *Config) { c.MaxSize = 1 }, "one file": func(c *Config) { c.MaxFiles = 1 }, "no logs": func(c *Config) { c.Logs = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s are taken", name)
		}
	}
}
