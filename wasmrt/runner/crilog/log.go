package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// MaxLine bounds the bytes of content in one record, as containerd's default does: readers allocate a line at a time.
const MaxLine = 16 << 10

// Names of the streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

const (
	filePerm = 0o640 // logs may hold what only the node's administrators should see
	dirPerm  = 0o755
)

// Log is one container's log file. It is safe for concurrent use.
type Log struct {
	path    string
	now     func() time.Time
	dropped atomic.Uint64

	mu      sync.Mutex
	file    *os.File
	buf     []byte // the records of one write, kept for the next when small
	streams []*Stream
	closed  bool
}

// New returns the log at path. An empty path is a log that drops everything. It does no I/O.
func New(path string, now func() time.Time) *Log { return &Log{path: path, now: now} }

// Create makes the file and its directories, so that a reader finds it before the first line.
func (l *Log) Create() error {
	if l.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), dirPerm); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	f, err := l.open()
	if err != nil {
		return err
	}
	return f.Close()
}

// Stream returns a writer for a stream of that name. Each call is a stream of its own, whose unfinished line mixes with
// no other's.
func (l *Log) Stream(name string) *Stream {
	s := &Stream{log: l, name: name}
	l.mu.Lock()
	l.streams = append(l.streams, s)
	l.mu.Unlock()
	return s
}

// Reopen makes the next line go to a new file at the path, after the old one was moved away.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" || l.closed {
		return nil
	}
	f, err := l.open()
	if err != nil {
		return err // the old file goes on
	}
	old := l.file
	l.file = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// Dropped is the number of records that could not be written.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes unfinished lines as partial ones and closes the file. What is written afterwards is dropped.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	for _, s := range l.streams {
		if len(s.partial) > 0 {
			l.record(s.name, tagPartial, s.partial, l.now())
			s.partial = nil
		}
	}
	l.flush()
	l.closed = true
	var err error
	if l.file != nil {
		err = l.file.Close()
		l.file = nil
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func (l *Log) open() (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// flush writes the records gathered in buf.
func (l *Log) flush() {
	if len(l.buf) == 0 {
		return
	}
	if l.path != "" && !l.write() {
		l.dropped.Add(uint64(bytes.Count(l.buf, []byte{'\n'})))
	}
	const keep = 4 << 10 // idle containers must not hold what one long line needed once
	if cap(l.buf) > keep {
		l.buf = nil
	}
	l.buf = l.buf[:0]
}

func (l *Log) write() bool {
	if l.closed {
		return false
	}
	if l.file == nil {
		f, err := l.open()
		if err != nil {
			return false
		}
		l.file = f
	}
	_, err := l.file.Write(l.buf)
	return err == nil
}
