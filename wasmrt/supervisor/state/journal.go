package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// journal is the file of all sandboxes' and containers' lines, and where in it those are that count.
type journal struct {
	path string

	mu        sync.Mutex
	file      *os.File // nil before the first use
	size      int64    // of the file
	live      int64    // of that, what counts
	retryAt   int64    // no new file is made before this size: the last attempt failed
	torn      bool     // the last line is not whole
	bad       int      // lines that could not be read
	closed    bool     // whoever comes next may write it by now
	sandboxes map[string]*sandboxLines
}

// sandboxLines are those of a sandbox and of its containers, which are few.
type sandboxLines struct {
	lines
	containers []containerLines
}

type containerLines struct {
	id string
	lines
}

// lines are a record's first and its last, the latter empty where nothing became of it.
type lines struct{ first, last span }

type span struct {
	at int64
	n  int32
}

func (l *lines) size() int64 { return int64(l.first.n) + int64(l.last.n) }

// add writes a line. One about what is not there is fs.ErrNotExist, but for its being gone.
func (j *journal) add(k key, record any) error {
	if !k.valid() {
		return fmt.Errorf("save %s: %q %q: no ids", k.kind, k.sandbox, k.container)
	}
	var body []byte
	if record != nil {
		var err error
		if body, err = json.Marshal(record); err != nil {
			return fmt.Errorf("save %s: %w", k.kind, err)
		}
	}
	line := k.line(body)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return fmt.Errorf("save %s: %w", k.kind, fs.ErrClosed)
	}
	if err := j.open(); err != nil {
		return err
	}
	if !j.has(k) {
		if k.kind.isEnd() {
			return nil
		}
		return fmt.Errorf("save %s: %w", k.kind, fs.ErrNotExist)
	}
	if err := j.write(k, line); err != nil {
		return fmt.Errorf("save %s: %w", k.kind, err)
	}
	j.tidy()
	return nil
}

// write appends a line and takes note of it. What an earlier one left unfinished gets an end of its own.
func (j *journal) write(k key, line []byte) error {
	at := j.size
	if j.torn {
		line = append([]byte{'\n'}, line...)
		at++
	}
	n, err := j.file.Write(line)
	j.size += int64(n)
	if err != nil {
		j.torn = j.torn || n > 0
		return err
	}
	j.torn = false
	j.note(k, span{at, int32(j.size - at)})
	return nil
}

// has reports whether what the line builds upon is there.
func (j *journal) has(k key) bool {
	s := j.sandboxes[k.sandbox]
	switch k.kind {
	case sandboxFirst:
		return true
	case sandboxNow, sandboxGone, containerFirst:
		return s != nil
	default:
		return s != nil && s.container(k.container) != nil
	}
}

// note makes a line count, and those that it replaces no longer.
func (j *journal) note(k key, at span) {
	s := j.sandboxes[k.sandbox]
	j.live -= s.size()
	switch k.kind {
	case sandboxFirst:
		s = &sandboxLines{lines: lines{first: at}}
		j.sandboxes[k.sandbox] = s
	case sandboxNow:
		s.last = at
	case sandboxGone:
		delete(j.sandboxes, k.sandbox)
		return
	case containerFirst:
		s.drop(k.container)
		s.containers = append(s.containers, containerLines{id: k.container, lines: lines{first: at}})
	case containerNow:
		s.container(k.container).last = at
	case containerGone:
		s.drop(k.container)
	}
	j.live += s.size()
}

// size is that of all lines of a sandbox and its containers; 0 for none.
func (s *sandboxLines) size() int64 {
	if s == nil {
		return 0
	}
	sum := s.lines.size()
	for i := range s.containers {
		sum += s.containers[i].size()
	}
	return sum
}

func (s *sandboxLines) container(id string) *containerLines {
	for i := range s.containers {
		if s.containers[i].id == id {
			return &s.containers[i]
		}
	}
	return nil
}

func (s *sandboxLines) drop(id string) {
	s.containers = slices.DeleteFunc(s.containers, func(c containerLines) bool { return c.id == id })
}

// close ends what is written: the root is another supervisor's.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file, j.sandboxes = nil, nil
	return err
}

// reopen is close's end: the root is this supervisor's again.
func (j *journal) reopen() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = false
}

// read answers the bodies of a record's first and last line.
func (j *journal) read(l *lines) (first, last []byte, err error) {
	if first, err = j.body(l.first); err == nil && l.last.n > 0 {
		last, err = j.body(l.last)
	}
	return first, last, err
}

func (j *journal) body(s span) ([]byte, error) {
	if s.n > MaxRecord {
		return nil, fmt.Errorf("record is larger than %d bytes", MaxRecord)
	}
	raw := make([]byte, s.n)
	if _, err := j.file.ReadAt(raw, s.at); err != nil {
		return nil, err
	}
	_, body, ok := parseLine(raw, len(raw))
	if !ok {
		return nil, errors.New("the line has changed")
	}
	return body, nil
}
