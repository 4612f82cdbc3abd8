package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// cacheOf loads a command that exits with 6 in a process of its own, as it were, and tells whether its code was there.
func cacheOf(t *testing.T, cfg Config) (cached bool, refusals uint64, err error) {
	t.Helper()
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tmpl, err := e.Load(t.Context(), moduletest.Exit(6))
	if err != nil {
		return false, e.CacheRefusals(), err
	}
	defer tmpl.Close()
	if code, err := tmpl.Run(t.Context(), Spec{}); code != 6 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	again, err := e.Load(t.Context(), moduletest.Exit(6))
	if err != nil {
		return false, 0, err
	}
	if !again.Cached() {
		t.Error("the second load in one process is not cached")
	}
	return tmpl.Cached(), e.CacheRefusals(), again.Close()
}

func wantCached(t *testing.T, cfg Config, want bool, refusals uint64) {
	t.Helper()
	cached, refused, err := cacheOf(t, cfg)
	if err != nil || cached != want || refused != refusals {
		t.Errorf("cached %v, %d refusals, %v; want %v, %d", cached, refused, err, want, refusals)
	}
}

// contents returns every file and directory below a directory, with mode and content.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		found[path] = st.Mode().String()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			found[path] += string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func entryOf(t *testing.T, cfg Config) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(cfg.CacheDir, cacheOptions, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("entries %v, %v", dirs, err)
	}
	return dirs[0]
}

func machineCode(t *testing.T, entry string) string {
	t.Helper()
	files, err := codeFiles(entry)
	if err != nil || len(files) != 1 {
		t.Fatalf("machine code %v, %v", files, err)
	}
	return filepath.Join(entry, files[0].path)
}

func TestCacheKeepsUntilEvicted(t *testing.T) {
	cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	wantCached(t, cfg, false, 0)
	wantCached(t, cfg, true, 0)
	entry := entryOf(t, cfg)
	for path, content := range contents(t, cfg.CacheDir) {
		mode, _, _ := strings.Cut(content, "x-")
		switch rel, _ := filepath.Rel(entry, path); {
		case strings.HasPrefix(rel, ".."):
			if !strings.HasPrefix(content, "drwx--x--x") {
				t.Errorf("%s has mode %s", path, mode)
			}
		case !strings.HasPrefix(content, "drwxr-xr-x") && !strings.HasPrefix(content, "-rw-r--r--"):
			t.Errorf("%s has mode %s", path, mode)
		}
	}
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	info, err := module.Check(moduletest.Exit(6), module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.EvictCache(info.Digest), e.EvictCache(info.Digest)); err != nil {
		t.Error(err)
	}
	wantCached(t, cfg, false, 0)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, entryFileMode); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(content)
	}
	if len(content) == 0 {
		content = []byte{1}
	} else {
		content[at] ^= 1
	}
	write(t, path, content)
}

// remake writes a manifest that is whole, but says something else.
func remake(t *testing.T, entry string, change func(m *manifest)) {
	t.Helper()
	m, err := readManifest(entry)
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(entry, manifestFile), text)
}

// An entry that is not as it was written is refused and made anew; whoever may not write says so and leaves it alone.
func TestCacheRefusesWhatWasChanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, entry string)
		stale  bool // not damaged, only of no use
	}{
		{"code changed", func(t *testing.T, entry string) { flip(t, machineCode(t, entry), 90) }, false},
		{"last byte of the code", func(t *testing.T, entry string) { flip(t, machineCode(t, entry), -1) }, false},
		{"code cut off", func(t *testing.T, entry string) { _ = os.Truncate(machineCode(t, entry), 40) }, false},
		{"code empty", func(t *testing.T, entry string) { _ = os.Truncate(machineCode(t, entry), 0) }, false},
		{"code longer", func(t *testing.T, entry string) { _ = os.Truncate(machineCode(t, entry), 1<<20) }, false},
		{"code gone", func(t *testing.T, entry string) { _ = os.Remove(machineCode(t, entry)) }, false},
		{"outline changed", func(t *testing.T, entry string) { flip(t, filepath.Join(entry, outlineFile), -1) }, false},
		{"outline gone", func(t *testing.T, entry string) { _ = os.Remove(filepath.Join(entry, outlineFile)) }, false},
		{"data changed", func(t *testing.T, entry string) { flip(t, filepath.Join(entry, dataFile), 0) }, false},
		{"data gone", func(t *testing.T, entry string) { _ = os.Remove(filepath.Join(entry, dataFile)) }, false},
		{"manifest changed", func(t *testing.T, entry string) { flip(t, filepath.Join(entry, manifestFile), 20) }, false},
		{"manifest cut off", func(t *testing.T, entry string) { _ = os.Truncate(filepath.Join(entry, manifestFile), 50) }, false},
		{"manifest gone", func(t *testing.T, entry string) { _ = os.Remove(filepath.Join(entry, manifestFile)) }, false},
		{"manifest leads elsewhere", func(t *testing.T, entry string) {
			remake(t, entry, func(m *manifest) { m.Code, m.Files["../x"] = "../x", m.Files[m.Code] })
		}, false},
		{"another's to write", func(t *testing.T, entry string) { _ = os.Chmod(machineCode(t, entry), 0o666) }, false},
		{"a directory for all to write", func(t *testing.T, entry string) { _ = os.Chmod(entry, 0o777) }, false},
		{"a link", func(t *testing.T, entry string) {
			_ = os.Rename(filepath.Join(entry, dataFile), filepath.Join(entry, "x"))
			_ = os.Symlink("x", filepath.Join(entry, dataFile))
		}, false},
		{"of another processor", func(t *testing.T, entry string) {
			remake(t, entry, func(m *manifest) { m.Processor = "z80" })
		}, true},
		{"of another version of wazero", func(t *testing.T, entry string) {
			file := machineCode(t, entry)
			other := filepath.Join(entry, "wazero-v0.0.1-amd64-linux")
			_ = os.Rename(filepath.Dir(file), other)
			remake(t, entry, func(m *manifest) {
				name := filepath.Join(filepath.Base(other), filepath.Base(file))
				m.Files[name], m.Code = m.Files[m.Code], name
			})
		}, true},
		{"under a name that wazero does not look for", func(t *testing.T, entry string) {
			file := machineCode(t, entry)
			_ = os.Rename(file, file+"0")
			remake(t, entry, func(m *manifest) { m.Files[m.Code+"0"], m.Code = m.Files[m.Code], m.Code+"0" })
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
			wantCached(t, cfg, false, 0)
			tt.change(t, entryOf(t, cfg))
			readOnly := cfg
			readOnly.ReadOnlyCache = true
			if _, _, err := cacheOf(t, readOnly); !errors.Is(err, ErrNotCached) {
				t.Errorf("read-only: %v, want ErrNotCached", err)
			}
			refusals := uint64(1)
			if tt.stale {
				refusals = 0
			}
			wantCached(t, cfg, false, refusals)
			wantCached(t, cfg, true, 0)
			wantCached(t, readOnly, true, 0)
		})
	}
}

func TestCacheReadOnlyWritesNothing(t *testing.T) {
	cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	readOnly := cfg
	readOnly.ReadOnlyCache = true
	if _, refusals, err := cacheOf(t, readOnly); !errors.Is(err, ErrNotCached) || refusals != 0 {
		t.Errorf("nothing is there: %v, %d refusals", err, refusals)
	}
	if _, err := os.Stat(cfg.CacheDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cache was made: %v", err)
	}
	wantCached(t, cfg, false, 0)
	before := contents(t, cfg.CacheDir)
	wantCached(t, readOnly, true, 0)
	e, _ := New(t.Context(), readOnly)
	info, _ := module.Check(moduletest.Exit(6), module.Limits{})
	if err := e.EvictCache(info.Digest); err != nil {
		t.Error(err)
	}
	after := contents(t, cfg.CacheDir)
	if len(before) != len(after) {
		t.Errorf("before %d files, after %d", len(before), len(after))
	}
	for path, content := range before {
		if after[path] != content {
			t.Errorf("%s changed", path)
		}
	}
	if err := (Config{ReadOnlyCache: true}).Validate(); err == nil {
		t.Error("a read-only cache without a directory is accepted")
	}
}

// A cache that others can write to is not touched at all.
func TestCacheOpenToOthers(t *testing.T) {
	cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	wantCached(t, cfg, false, 0)
	for _, dir := range []string{cfg.CacheDir, filepath.Join(cfg.CacheDir, cacheOptions)} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, _, err := cacheOf(t, cfg); !errors.Is(err, errCacheOpen) {
			t.Errorf("machine code is taken from a directory that anybody can write to: %v", err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(machineCode(t, entryOf(t, cfg)), 12345, -1); err != nil {
		t.Fatal(err)
	}
	wantCached(t, cfg, false, 1)
}

func TestCacheSweepsWhatWasLeftBehind(t *testing.T) {
	cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	old, fresh := filepath.Join(cfg.CacheDir, cacheOptions, workPrefix+"1"), filepath.Join(cfg.CacheDir, cacheOptions, workPrefix+"2")
	for _, dir := range []string{old, fresh} {
		if err := os.MkdirAll(filepath.Join(dir, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-2 * workAge)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	wantCached(t, cfg, false, 0)
	left, err := filepath.Glob(filepath.Join(cfg.CacheDir, cacheOptions, workPrefix+"*"))
	if err != nil || len(left) != 1 || left[0] != fresh {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestPackData(t *testing.T) {
	segments := func(text string) []module.DataSegment {
		var s []module.DataSegment
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	tests := []struct {
		name, segments string
		packed         int
	}{
		{"none", `[]`, 0},
		{"neighbours", `[{"Offset":8,"Bytes":"AQI="},{"Offset":10,"Bytes":"Aw=="},{"Offset":20,"Bytes":"BA=="}]`, 1},
		{"apart", `[{"Offset":8,"Bytes":"AQI="},{"Offset":100,"Bytes":"Aw=="}]`, 2},
		{"the later one counts", `[{"Offset":8,"Bytes":"AQID"},{"Offset":9,"Bytes":"CQ=="},{"Offset":12,"Bytes":"CA=="}]`, 3},
		{"backwards", `[{"Offset":12,"Bytes":"AQI="},{"Offset":8,"Bytes":"CQ=="}]`, 2},
		{"empty", `[{"Offset":12,"Bytes":""},{"Offset":4294967295,"Bytes":"CQ=="}]`, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := segments(tt.segments)
			out, err := unpackData(packData(in))
			if err != nil || len(out) != tt.packed {
				t.Fatalf("%d segments, %v, want %d", len(out), err, tt.packed)
			}
			var memory [2][256]byte
			for i, list := range [][]module.DataSegment{in, out} {
				for _, s := range list {
					if s.Offset < 256 {
						copy(memory[i][s.Offset:], s.Bytes)
					}
				}
			}
			if !bytes.Equal(memory[0][:], memory[1][:]) {
				t.Errorf("memory differs: % x and % x", memory[0], memory[1])
			}
		})
	}
	whole := packData(segments(`[{"Offset":8,"Bytes":"AQI="}]`))
	for n := 1; n < len(whole); n++ {
		if _, err := unpackData(whole[:n]); err == nil {
			t.Errorf("%d bytes of %d are accepted", n, len(whole))
		}
	}
}

// Close under a load of one entry by many processes at once: each has the whole entry or makes its own.
func TestCacheMadeByManyAtOnce(t *testing.T) {
	cfg := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	done := make(chan error)
	const many = 8
	for range many {
		go func() {
			e, err := New(context.Background(), cfg)
			if err != nil {
				done <- err
				return
			}
			tmpl, err := e.Load(context.Background(), moduletest.Exit(6))
			if err == nil {
				var code uint32
				if code, err = tmpl.Run(context.Background(), Spec{}); code != 6 && err == nil {
					err = errors.New("another code")
				}
				err = errors.Join(err, tmpl.Close())
			}
			done <- errors.Join(err, e.Close())
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantCached(t, cfg, true, 0)
}

// TestEntryTakesThePlaceOfAnEmptyOne has a reader of an entry that is taken away leave wazero's directory in its place,
// again and again.
func TestEntryTakesThePlaceOfAnEmptyOne(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "entry")
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.MkdirAll(filepath.Join(dir, "wazero-v0"), entryDirMode)
				runtime.Gosched()
			}
		}
	}()
	for i := range 200 {
		made := filepath.Join(parent, fmt.Sprint("made", i))
		if err := os.Mkdir(made, entryDirMode); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(made, manifestFile), nil, entryFileMode); err != nil {
			t.Fatal(err)
		}
		if err := putEntry(made, dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, manifestFile)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
}
