package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

const (
	// tailBlock is how much is read at a time when looking for the last lines from a log's end.
	tailBlock = 64 << 10
	// headerSize is enough for a record's time, stream and tag.
	headerSize = 64
)

// tailOffset is where the last n lines begin. A line in parts counts as one.
func tailOffset(file *os.File, n int64) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("stat log: %w", err)
	}
	size := info.Size()
	if n <= 0 {
		return size, nil
	}
	block := make([]byte, tailBlock)
	end := size // of the record before which we look for a newline
	for pos := size; pos > 0; {
		length := min(pos, tailBlock)
		pos -= length
		if _, err := file.ReadAt(block[:length], pos); err != nil && err != io.EOF {
			return 0, fmt.Errorf("read log: %w", err)
		}
		for i := length; ; {
			at := int64(bytes.LastIndexByte(block[:i], '\n'))
			if at < 0 {
				break
			}
			i = at
			start := pos + at + 1
			if start == size {
				continue // the last newline ends the last record
			}
			whole, err := endsLine(file, start)
			if err != nil {
				return 0, err
			}
			if whole {
				if n == 0 {
					return end, nil
				}
				n--
			}
			end = start
		}
	}
	// The first record of the file has no newline before it.
	if whole, err := endsLine(file, 0); err != nil || !whole || n > 0 {
		return 0, err
	}
	return end, nil
}

// endsLine reports whether the record at the offset is the last part of its line.
func endsLine(file *os.File, offset int64) (bool, error) {
	head := make([]byte, headerSize)
	n, err := file.ReadAt(head, offset)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read log: %w", err)
	}
	line, _, _ := bytes.Cut(head[:n], []byte{'\n'})
	record, err := Parse(line)
	return err != nil || !record.Partial, nil
}
