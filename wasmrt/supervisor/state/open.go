package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// scanBuffer is how much of the journal is read at a time.
const scanBuffer = 64 << 10

// open opens the journal and finds the lines that count. The mutex is held.
func (j *journal) open() error {
	if j.file != nil {
		return nil
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, filePerm)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.sandboxes = map[string]*sandboxLines{}
	j.size, j.live, j.retryAt, j.torn, j.bad = 0, 0, 0, false, 0
	if err := j.scan(f); err != nil {
		j.sandboxes = nil
		return errors.Join(fmt.Errorf("read journal: %w", err), f.Close())
	}
	j.file = f
	return nil
}

// scan notes each line of the journal.
func (j *journal) scan(f io.Reader) error {
	r := bufio.NewReaderSize(f, scanBuffer)
	head := make([]byte, 0, maxHead)
	for {
		n, whole := 0, false
		head = head[:0]
		for {
			chunk, err := r.ReadSlice('\n')
			head = append(head, chunk[:min(len(chunk), maxHead-len(head))]...)
			n += len(chunk)
			if whole = err == nil; whole || errors.Is(err, io.EOF) {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
		if n == 0 {
			return nil
		}
		j.found(head, n, whole)
	}
}

// found notes a line of n bytes that follows those before it.
func (j *journal) found(head []byte, n int, whole bool) {
	at := j.size
	j.size += int64(n)
	k, _, ok := parseLine(head, n)
	switch {
	case !whole:
		j.torn = true
		j.bad++
	case !ok || n > math.MaxInt32:
		j.bad++
	case j.has(k):
		j.note(k, span{at, int32(n)})
	}
}
