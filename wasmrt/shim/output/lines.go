package output

import (
	"bytes"
	"io"
	"sync"
)

const (
	// maxRecord bounds a line of the log: 16 KiB of content, and what stands before it.
	maxRecord = 17 << 10
	// waitSize is what a log that nothing comes from holds: most of a thousand guests are silent.
	waitSize = 512
)

// chunks are what is read into while more comes than waitSize.
var chunks = sync.Pool{New: func() any { b := make([]byte, 2*maxRecord); return &b }}

// eachLine calls f with each line, without its newline, until there is an error; f may write one byte behind the line. What
// is longer than a record is read over.
func eachLine(r io.Reader, f func(line []byte)) error {
	var (
		small = make([]byte, waitSize)
		large *[]byte // while much comes
		s     splitter
	)
	defer func() {
		if large != nil {
			chunks.Put(large)
		}
	}()
	for {
		chunk := small
		if large != nil {
			chunk = *large
		}
		n, err := r.Read(chunk)
		s.take(chunk[:n], f)
		if err != nil {
			return err
		}
		switch {
		case large == nil && n == len(small):
			large = chunks.Get().(*[]byte)
		case large != nil && n <= len(small):
			chunks.Put(large)
			large = nil
		}
	}
}

// splitter takes bytes apart into lines.
type splitter struct {
	rest []byte // the begin of a line whose end has not come
	over bool   // it was too long
}

func (s *splitter) take(data []byte, f func(line []byte)) {
	for {
		at := bytes.IndexByte(data, '\n')
		if at < 0 {
			break
		}
		line := data[:at]
		if len(s.rest) > 0 {
			line = append(s.rest, line...)
		}
		if !s.over && len(line) <= maxRecord {
			f(line)
		}
		s.rest, s.over = nil, false
		data = data[at+1:]
	}
	if s.over = s.over || len(s.rest)+len(data) > maxRecord; s.over {
		s.rest = nil
		return
	}
	s.rest = append(s.rest, data...)
}
