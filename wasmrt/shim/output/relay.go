package output

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// drainTime is how long an exit waits for a reader to take what was printed before it.
	drainTime = 2 * time.Second
	// dirPerm lets a runner with a user id of its own come to the log, and see nothing else.
	dirPerm  = 0o711
	pipePerm = 0o600
)

// Relay is the output of one container.
type Relay struct {
	dir    string
	log    *os.File // read here
	hold   *os.File // the log's other end, so that there is no end of file while the container lives
	stdout *os.File
	stderr *os.File
	done   chan struct{}
}

// LogName is the log's name in a relay's directory.
const LogName = "log"

// Open makes the log in dir and starts to take what comes to containerd's pipes. An empty path drops its stream.
func Open(dir, stdout, stderr string) (_ *Relay, err error) {
	r := &Relay{dir: dir, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(), os.RemoveAll(dir))
		}
	}()
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return nil, fmt.Errorf("make output: %w", err)
	}
	if r.log, r.hold, err = makePipe(filepath.Join(dir, LogName)); err != nil {
		return nil, err
	}
	if r.stdout, err = openSink(stdout); err != nil {
		return nil, err
	}
	if r.stderr, err = openSink(stderr); err != nil {
		return nil, err
	}
	go r.run()
	return r, nil
}

// makePipe makes a pipe with a name and opens both its ends.
func makePipe(path string) (read, write *os.File, err error) {
	if err := unix.Mkfifo(path, pipePerm); err != nil {
		return nil, nil, fmt.Errorf("make output: %w", &fs.PathError{Op: "mkfifo", Path: path, Err: err})
	}
	if read, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, nil, fmt.Errorf("open output: %w", err)
	}
	if write, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open output: %w", err), read.Close())
	}
	return read, write, nil
}

// openSink opens what containerd reads from: a pipe, which it names by its path, or a file, which it names by a URL.
func openSink(name string) (*os.File, error) {
	if name == "" {
		return nil, nil
	}
	u, err := url.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	flags := os.O_RDWR | unix.O_NONBLOCK // both directions: then there is always a reader
	switch u.Scheme {
	case "", "fifo":
	case "file":
		flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	default:
		return nil, fmt.Errorf("open output: %s is not served: a pipe or a file is", u.Scheme)
	}
	f, err := os.OpenFile(u.Path, flags, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	return f, nil
}

// run passes records on until the log ends.
func (r *Relay) run() {
	defer close(r.done)
	_ = eachLine(r.log, r.pass) // it ends with the file's end, or when it is closed
}

func (r *Relay) pass(line []byte) {
	rec, err := parse(line)
	if err != nil {
		return
	}
	to := r.stdout
	if rec.stderr {
		to = r.stderr
	}
	if to == nil {
		return
	}
	if !rec.partial {
		rec.content = append(rec.content, '\n') // where the line's own newline was
	}
	// Nobody is told of an error: how a guest runs must not depend on who reads its output.
	_, _ = to.Write(rec.content)
}

// Close ends the relay when what was printed has been taken, or nobody takes it. Further calls do nothing.
func (r *Relay) Close() error {
	_ = r.hold.Close() // whoever prints still holds its own
	limit := time.Now().Add(drainTime)
	for _, f := range []*os.File{r.log, r.stdout, r.stderr} {
		if f != nil {
			_ = f.SetDeadline(limit) // what has no deadlines, such as a file, never blocks
		}
	}
	<-r.done
	return errors.Join(r.close(), os.RemoveAll(r.dir))
}

func (r *Relay) close() error {
	var errs []error
	for _, f := range []*os.File{r.log, r.hold, r.stdout, r.stderr} {
		if f != nil {
			if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
