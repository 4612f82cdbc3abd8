package wasi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func (w *world) texts(sizes, get string) []string {
	w.t.Helper()
	w.want(sizes, 0, atResult, atResult+4)
	n, size := w.result(), le.Uint32(w.mem[atResult+4:])
	w.want(get, 0, atVector, atBuffer)
	var out []string
	for i := range n {
		at := le.Uint32(w.mem[atVector+4*i:])
		text, _, _ := bytes.Cut(w.mem[at:], []byte{0})
		out = append(out, string(text))
		size -= uint32(len(text)) + 1
	}
	if size != 0 {
		w.t.Errorf("%s is off by %d", sizes, size)
	}
	return out
}

func TestArgumentsAndEnvironment(t *testing.T) {
	w := newWorld(t, Config{Args: []string{"app", "", "a b"}, Env: []string{"A=1", "B=x=y", "A=2"}})
	if got := w.texts("args_sizes_get", "args_get"); !slices.Equal(got, []string{"app", "", "a b"}) {
		t.Errorf("arguments %q", got)
	}
	if got := w.texts("environ_sizes_get", "environ_get"); !slices.Equal(got, []string{"A=2", "B=x=y"}) {
		t.Errorf("environment %q", got)
	}
	w.want("args_get", ErrnoFault, atVector, len(w.mem)-3)
	w.want("args_get", ErrnoFault, len(w.mem)-3, atBuffer)
	w.want("args_sizes_get", ErrnoFault, atResult, len(w.mem)-3)
}

func TestConfigValidate(t *testing.T) {
	for name, cfg := range map[string]Config{
		"zero byte":     {Args: []string{"a\x00"}},
		"no key":        {Env: []string{"=x"}},
		"no value":      {Env: []string{"x"}},
		"too long":      {Args: []string{strings.Repeat("x", MaxArgumentBytes)}},
		"files":         {MaxFiles: MaxMaxFiles + 1},
		"mount":         {Mounts: []Mount{{HostPath: "x", GuestPath: "/x"}}},
		"missing mount": {Mounts: []Mount{{HostPath: "/nothing/here", GuestPath: "/x"}}},
	} {
		if s, err := New(cfg); err == nil {
			_ = s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestStreams(t *testing.T) {
	w := newWorld(t, Config{})
	if text, errno := w.read(0, 10); text != "" || errno != 0 {
		t.Errorf("no stdin reads %q, %d", text, errno)
	}
	if n, errno := w.write(1, "lost"); n != 4 || errno != 0 {
		t.Errorf("no stdout takes %d, %d", n, errno)
	}
	var out, errOut bytes.Buffer
	w.SetStreams(strings.NewReader("hello world"), &out, &errOut)
	text, errno := w.read(0, 5)
	if rest, _ := w.read(0, 100); text != "hello" || rest != " world" || errno != 0 {
		t.Errorf("stdin reads %q and %q, %d", text, rest, errno)
	}
	_, _ = w.write(1, "out")
	_, _ = w.write(2, "err")
	if out.String() != "out" || errOut.String() != "err" {
		t.Errorf("wrote %q and %q", &out, &errOut)
	}
	if _, errno := w.write(0, "x"); errno != ErrnoNotCapable {
		t.Errorf("writing stdin: %d", errno)
	}
	if _, errno := w.read(1, 1); errno != ErrnoNotCapable {
		t.Errorf("reading stdout: %d", errno)
	}
	w.want("fd_seek", ErrnoSpipe, 1, 0, whenceCur, atResult)
	w.want("fd_prestat_get", ErrnoBadf, 0, atResult)
	w.want("fd_fdstat_get", 0, 1, atBuffer)
	if kind := fileType(w.mem[atBuffer]); kind != typeUnknown { // a terminal would be a character device: programs colour what they write to one
		t.Errorf("stdout is a %d", kind)
	}
	w.want("fd_write", ErrnoFault, 1, len(w.mem)-4, 1, atResult)
	w.want("fd_write", ErrnoFault, 1, 0, -1, atResult)
	w.vector(len(w.mem)-1, 2)
	w.want("fd_write", ErrnoFault, 1, atVector, 1, atResult)
}

func TestManyBuffers(t *testing.T) {
	w := newWorld(t, Config{})
	var out bytes.Buffer
	w.SetStreams(nil, &out, nil)
	w.mem[atBuffer] = 'x'
	for i := range maxBuffers + 5 {
		le.PutUint32(w.mem[1<<17+8*i:], atBuffer)
		le.PutUint32(w.mem[1<<17+8*i+4:], 1)
	}
	w.want("fd_write", 0, 1, 1<<17, maxBuffers+5, atResult)
	if w.result() != maxBuffers || out.Len() != maxBuffers {
		t.Errorf("wrote %d, told %d", out.Len(), w.result())
	}
}

// What the guest waits for does not keep it from ending.
func TestBlockedStreamsEnd(t *testing.T) {
	w := newWorld(t, Config{})
	r, pw := io.Pipe()
	pr, out := io.Pipe()
	defer func() { _, _, _, _ = r.Close(), pw.Close(), pr.Close(), out.Close() }()
	w.SetStreams(r, out, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	w.h.ctx = ctx
	if _, errno := w.read(0, 10); errno != ErrnoIntr {
		t.Errorf("read: %d", errno)
	}
	if _, errno := w.write(1, "x"); errno != ErrnoIntr {
		t.Errorf("write: %d", errno)
	}
	if w.h.blocks == 0 {
		t.Error("the guest's processor was not given back")
	}
}

func TestBlockingStdin(t *testing.T) {
	w := newWorld(t, Config{})
	r, pw := io.Pipe()
	defer r.Close()
	w.SetStreams(r, nil, nil)
	w.want("fd_fdstat_set_flags", 0, 0, int(flagNonblock))
	if _, errno := w.read(0, 10); errno != ErrnoAgain {
		t.Errorf("nothing there: %d", errno)
	}
	go func() {
		_, _ = pw.Write([]byte("line"))
		_ = pw.CloseWithError(errors.New("torn"))
	}()
	w.want("fd_fdstat_set_flags", 0, 0, 0)
	text, errno := w.read(0, 2)
	if rest, _ := w.read(0, 10); text != "li" || rest != "ne" || errno != 0 {
		t.Errorf("read %q and %q, %d", text, rest, errno)
	}
	for range 2 {
		if _, errno := w.read(0, 10); errno != ErrnoIO {
			t.Errorf("a torn stream: %d", errno)
		}
	}
	// What a request left unread is not the next one's.
	w.SetStreams(strings.NewReader("secret"), nil, nil)
	w.Reset()
	w.SetStreams(strings.NewReader("mine"), nil, nil)
	if text, _ := w.read(0, 10); text != "mine" {
		t.Errorf("read %q", text)
	}
}

type prompt struct{ n int }

func (p *prompt) Prompt()                     {}
func (p *prompt) Write(b []byte) (int, error) { p.n += len(b); return len(b), nil }

func TestHotCallsAllocateNothing(t *testing.T) {
	w := newWorld(t, Config{})
	out := &prompt{}
	w.SetStreams(nil, out, nil)
	w.vector(atBuffer, 100)
	calls := map[string][]uint64{
		"fd_write":       {1, atVector, 1, atResult},
		"clock_time_get": {clockMonotonic, 1, atResult},
		"random_get":     {atBuffer, 100},
		"fd_fdstat_get":  {1, atBuffer},
		"sched_yield":    {0},
	}
	stack := make([]uint64, 8)
	for name, params := range calls {
		f := w.all[name]
		if n := testing.AllocsPerRun(100, func() {
			copy(stack, params)
			f(w.h, w.System, w.mem, stack)
		}); n != 0 || stack[0] != 0 {
			t.Errorf("%s makes %v allocations, errno %d", name, n, stack[0])
		}
	}
	if out.n == 0 {
		t.Error("nothing was written")
	}
}

func TestClocksRandomAndEnd(t *testing.T) {
	w := newWorld(t, Config{})
	w.want("clock_res_get", 0, clockRealtime, atResult)
	if w.result64() != uint64(time.Microsecond) {
		t.Errorf("resolution %d", w.result64())
	}
	w.want("clock_time_get", 0, clockRealtime, uint64(1), atResult)
	if off := time.Since(time.Unix(0, int64(w.result64()))); off < -time.Millisecond || off > time.Minute {
		t.Errorf("the wall clock is off by %v", off)
	}
	w.want("clock_time_get", 0, clockMonotonic, uint64(1), atResult)
	before := w.result64()
	other := newWorld(t, Config{})
	other.want("clock_time_get", 0, clockMonotonic, uint64(1), atResult)
	if before == 0 || other.result64() < before {
		t.Errorf("the monotonic clock went from %d to %d", before, other.result64())
	}
	w.want("clock_time_get", ErrnoInval, 2, uint64(1), atResult)
	w.want("random_get", 0, atBuffer, 32)
	if bytes.Equal(w.mem[atBuffer:][:32], make([]byte, 32)) {
		t.Error("randomness is zero")
	}
	w.want("random_get", ErrnoFault, 1, -1)
	for signal, code := range map[int]exited{6: 134, 9: 137, 15: 143} {
		func() {
			defer func() {
				if got := recover(); got != code {
					t.Errorf("signal %d ends with %v", signal, got)
				}
			}()
			w.call("proc_raise", signal)
		}()
	}
	w.want("proc_raise", 0, 16)
	w.want("proc_raise", ErrnoInval, 99)
}

// What moves many bytes is paid for.
func TestWorkIsPaid(t *testing.T) {
	w := newWorld(t, Config{})
	var out bytes.Buffer
	w.SetStreams(bytes.NewReader(make([]byte, 1<<19)), &out, nil)
	fd, errno := w.open(3, "f", openCreate, readWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	const size = 1 << 19
	w.vector(atBuffer, size)
	for name, params := range map[string][]any{
		"fd_write":   {1, atVector, 1, atResult},
		"fd_pwrite":  {fd, atVector, 1, uint64(0), atResult},
		"fd_pread":   {fd, atVector, 1, uint64(0), atResult},
		"random_get": {atBuffer, size},
	} {
		w.h.spent = 0
		w.want(name, 0, params...)
		if name != "fd_pread" && w.h.spent < size/costBytes {
			t.Errorf("%s of %d bytes costs %d", name, size, w.h.spent)
		}
	}
	w.h.spent = 0
	w.vector(0, 0)
	for i := range maxBuffers {
		le.PutUint64(w.mem[1<<17+8*i:], 0)
	}
	w.want("fd_write", 0, 1, 1<<17, maxBuffers, atResult)
	if w.h.spent < maxBuffers {
		t.Errorf("%d empty buffers cost %d", maxBuffers, w.h.spent)
	}
}
