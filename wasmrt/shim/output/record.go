package output

import (
	"bytes"
	"errors"
)

// errRecord says that a line is no record of a log.
var errRecord = errors.New("no record of a container's log")

// record is a line of the CRI's log format: time, stream, tag, content.
type record struct {
	stderr  bool
	partial bool // the guest wrote no newline behind the content
	content []byte
}

// parse takes a line apart, without its newline.
func parse(line []byte) (record, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(stamp) == 0 {
		return record{}, errRecord
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || (string(stream) != "stdout" && string(stream) != "stderr") {
		return record{}, errRecord
	}
	tag, content, ok := bytes.Cut(rest, []byte{' '})
	if !ok || (string(tag) != "F" && string(tag) != "P") {
		return record{}, errRecord
	}
	return record{stderr: stream[3] == 'e', partial: tag[0] == 'P', content: content}, nil
}
