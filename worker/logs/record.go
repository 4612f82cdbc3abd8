package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Record is one line of a CRI log: time, stream, tag, content.
type Record struct {
	Time   time.Time
	Stream string
	// Partial says that the next record of the stream goes on with the same line.
	Partial bool
	Content []byte
}

var errFields = errors.New("want time, stream, tag and content")

// Parse reads a record from a line without its newline. Content shares the line's memory.
func Parse(line []byte) (Record, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return Record{}, errFields
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Record{}, fmt.Errorf("parse time: %w", err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || string(stream) != "stdout" && string(stream) != "stderr" {
		return Record{}, errFields
	}
	tags, content, ok := bytes.Cut(rest, []byte{' '})
	if !ok { // an empty line may come without its last blank
		tags, content = rest, nil
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	if string(tag) != "F" && string(tag) != "P" {
		return Record{}, errFields
	}
	return Record{Time: t, Stream: string(stream), Partial: tag[0] == 'P', Content: content}, nil
}
