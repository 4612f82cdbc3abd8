package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// carried is a result with descriptors.
type carried struct {
	Name  string `json:"name"`
	files []*os.File
}

func (c *carried) Carry() []*os.File { return c.files }

// temporary makes a file with a content that names it.
func temporary(dir, name string) (*os.File, error) {
	path := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
	if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// awaitFiles waits until no more than n descriptors are open.
func awaitFiles(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); openFiles(t) > n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are open, want %d", openFiles(t), n)
		}
	}
}

// swap answers each file with another one, whose content is the first one's and the call's.
func swap(dir string) handlerFunc {
	return func(ctx context.Context, method string, params json.RawMessage) (any, error) {
		files := TakeFiles(ctx)
		defer CloseFiles(files)
		switch method {
		case "fail":
			return &carried{files: nil}, errors.New("no")
		case "wait":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		out := &carried{Name: method}
		for i, f := range files {
			raw, err := io.ReadAll(f)
			if err != nil {
				return nil, err
			}
			g, err := temporary(dir, fmt.Sprintf("%s of %s %s %d", raw, method, params, i))
			if err != nil {
				return nil, err
			}
			out.files = append(out.files, g)
		}
		return out, nil
	}
}

func TestFilesTravel(t *testing.T) {
	dir := t.TempDir()
	p := connect(t, swap(dir), nil)
	if err := p.client.Call(context.Background(), "first", nil, nil); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var send []*os.File
			for j := range i % 5 {
				f, err := temporary(dir, fmt.Sprintf("file %d.%d", i, j))
				if err != nil {
					t.Error(err)
					return
				}
				send = append(send, f)
			}
			defer CloseFiles(send)
			var out carried
			got, err := p.client.Exchange(context.Background(), fmt.Sprint("m", i), i, send, &out)
			defer CloseFiles(got)
			if err != nil || len(got) != len(send) || out.Name != fmt.Sprint("m", i) {
				t.Errorf("%d: %d files of %d, %v", i, len(got), len(send), err)
				return
			}
			for j, f := range got {
				if c, want := content(t, f), fmt.Sprintf("file %d.%d of m%d %d %d", i, j, i, i, j); c != want {
					t.Errorf("got %q, want %q", c, want)
				}
			}
		})
	}
	wg.Wait()
	awaitFiles(t, before)
}

// TestFilesAreClosed: what nobody takes does not stay open.
func TestFilesAreClosed(t *testing.T) {
	dir := t.TempDir()
	p := connect(t, swap(dir), nil)
	f, err := temporary(dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.client.Call(context.Background(), "first", nil, nil); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	send := []*os.File{f, f, f}
	if _, err := p.client.Exchange(context.Background(), "fail", nil, send, nil); err == nil {
		t.Error("it did not fail")
	}
	var wrong int
	if _, err := p.client.Exchange(context.Background(), "other type", nil, send, &wrong); err == nil {
		t.Error("an object is no number")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.client.Exchange(ctx, "wait", nil, send, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	p.stop()
	<-p.client.Done()
	awaitFiles(t, before-2) // both ends of the connection
}

// TestFilesThatAreNotThere: a peer that announces more than it sends, or sends without announcing, loses the connection.
func TestFilesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	f, err := temporary(dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, send := range map[string]func(c *net.UnixConn) error{
		"announced": func(c *net.UnixConn) error {
			_, err := c.Write(framed(`{"id":1,"method":"x","files":1}`))
			return err
		},
		"a negative number": func(c *net.UnixConn) error {
			_, err := c.Write(framed(`{"id":1,"method":"x","files":-1}`))
			return err
		},
		"too many": func(c *net.UnixConn) error {
			fds := make([]int, MaxFiles)
			for i := range fds {
				fds[i] = int(f.Fd())
			}
			for range 4 {
				if _, _, err := c.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
					return nil // it was quick to hang up
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := openFiles(t)
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			far, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
			if err != nil {
				t.Fatal(err)
			}
			near, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() {
				served <- ServeConn(context.Background(), near, Hello{}, NewHub(), handlerFunc(echo))
			}()
			if err := send(far); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-served:
				if err == nil {
					t.Error("it was served")
				}
			case <-time.After(60 * time.Second):
				t.Fatal("it is served still")
			}
			if err := errors.Join(far.Close(), l.Close()); err != nil {
				t.Fatal(err)
			}
			awaitFiles(t, before)
		})
	}
}
