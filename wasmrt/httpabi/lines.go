package httpabi

import (
	"bytes"
	"io"
	"sync"
)

// maxLine is how much of an unfinished line is held back.
const maxLine = 16 << 10

// lines is where the lines of all instances go; nil loses them.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func newLines(w io.Writer) *lines {
	if w == nil {
		return nil
	}
	return &lines{w: w}
}

// lineWriter hands on whole lines, so that those of requests that run at the same time are not mixed up.
type lineWriter struct {
	*lines
	rest []byte
}

// Prompt says that writing does not wait for anybody: where the lines go is a file.
func (l *lineWriter) Prompt() {}

func (l *lineWriter) Write(p []byte) (int, error) {
	if l.lines == nil {
		return len(p), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := bytes.LastIndexByte(p, '\n') + 1
	if end == 0 && len(l.rest)+len(p) <= maxLine {
		l.rest = append(l.rest, p...)
		return len(p), nil
	}
	if end == 0 {
		end = len(p)
	}
	out := p[:end]
	if len(l.rest) > 0 {
		out = append(l.rest, out...)
		l.rest = nil
	}
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	l.rest = append(l.rest, p[end:]...)
	return len(p), nil
}

// flush ends a line that the guest left unfinished.
func (l *lineWriter) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	line := append(l.rest, '\n')
	l.rest = nil
	_, err := l.w.Write(line)
	return err
}
