package crilog

import (
	"bytes"
	"time"
)

const (
	tagFull    = "F"
	tagPartial = "P"
)

// Stream is the standard output or error of a guest. Write never fails.
type Stream struct {
	log     *Log
	name    string
	partial []byte // the begin of a line whose end has not come; guarded by log.mu
}

// Prompt says that writing does not wait for anybody: a guest may do it without giving its processor back.
func (s *Stream) Prompt() {}

// Write splits p into lines and writes those that are complete.
func (s *Stream) Write(p []byte) (int, error) {
	l := s.log
	if l.path == "" {
		return len(p), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		line, whole := rest, end >= 0
		if whole {
			line, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		s.add(line, whole, now)
	}
	l.flush()
	return len(p), nil
}

// add takes a piece of a line; whole says that the line ends with it.
func (s *Stream) add(piece []byte, whole bool, now time.Time) {
	for len(s.partial)+len(piece) > MaxLine {
		n := MaxLine - len(s.partial)
		s.emit(tagPartial, piece[:n], now)
		piece = piece[n:]
	}
	if whole {
		s.emit(tagFull, piece, now)
		return
	}
	s.partial = append(s.partial, piece...)
}

// emit records what was kept of the line followed by piece.
func (s *Stream) emit(tag string, piece []byte, now time.Time) {
	if len(s.partial) > 0 {
		piece = append(s.partial, piece...)
		s.partial = nil
	}
	s.log.record(s.name, tag, piece, now)
}

// record appends one record to the buffer.
func (l *Log) record(stream, tag string, line []byte, now time.Time) {
	l.buf = now.UTC().AppendFormat(l.buf, time.RFC3339Nano)
	l.buf = append(l.buf, ' ')
	l.buf = append(l.buf, stream...)
	l.buf = append(l.buf, ' ')
	l.buf = append(l.buf, tag...)
	l.buf = append(l.buf, ' ')
	l.buf = append(l.buf, line...)
	l.buf = append(l.buf, '\n')
}
