package apps

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"
)

// logSource reads one container's log, a line at a time.
type logSource struct {
	io.Closer
	r              *bufio.Reader
	pod, container string

	line LogLine // the current one, after next
	err  error   // why next was false

	continued bool // the line before was cut, so this one has no time of its own
}

func newLogSource(stream io.ReadCloser, pod, container string) *logSource {
	return &logSource{Closer: stream, r: bufio.NewReaderSize(stream, maxLogLine), pod: pod, container: container}
}

// next reads a line. A line without an end counts once the log ends.
func (s *logSource) next() bool {
	raw, err := s.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(raw) == 0 {
		s.err = err
		return false
	}
	last := s.line.Time
	s.line = LogLine{Pod: s.pod, Container: s.container}
	text := strings.TrimSuffix(string(raw), "\n")
	if s.continued {
		s.line.Time, s.line.Line = last, text
	} else {
		s.line.Time, s.line.Line = splitTime(text, last)
	}
	s.continued = errors.Is(err, bufio.ErrBufferFull)
	return true
}

// splitTime takes the timestamp off a line. What has none (a message of the node's) gets the time of the line before,
// so that it keeps its place.
func splitTime(text string, otherwise time.Time) (time.Time, string) {
	stamp, line, _ := strings.Cut(text, " ")
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return otherwise, text
	}
	return t, line
}
