package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// slack is how many bytes of the journal may count for nothing, beside as many as count: copying what does costs no more
// than writing it did.
const slack = 4 << 20

// tidy makes a new journal when most of this one counts for nothing. Should it fail, this one goes on for as long again.
func (j *journal) tidy() {
	if j.size <= max(2*j.live+slack, j.retryAt) {
		return
	}
	if err := j.renew(); err != nil {
		j.retryAt = j.size + slack
	}
}

// renew copies the lines that count to a new journal, which takes the place of this one.
func (j *journal) renew() (err error) {
	tmp := j.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("renew journal: %w", err)
	}
	next := &journal{path: j.path, file: f, sandboxes: make(map[string]*sandboxLines, len(j.sandboxes))}
	w := bufio.NewWriterSize(f, scanBuffer)
	for id, s := range j.sandboxes {
		if err = next.copySandbox(w, j.file, id, s); err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Flush()); err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		return fmt.Errorf("renew journal: %w", errors.Join(err, f.Close(), os.Remove(tmp)))
	}
	err = j.file.Close()
	j.file, j.size, j.live, j.sandboxes = f, next.size, next.live, next.sandboxes
	j.retryAt, j.torn, j.bad = 0, false, 0
	return err
}

// copySandbox copies the lines of a sandbox and its containers.
func (j *journal) copySandbox(w io.Writer, from io.ReaderAt, id string, s *sandboxLines) error {
	own := key{sandbox: id}
	if err := j.copyLines(w, from, own, sandboxFirst, sandboxNow, &s.lines); err != nil {
		return err
	}
	for i := range s.containers {
		c := &s.containers[i]
		if err := j.copyLines(w, from, key{sandbox: id, container: c.id}, containerFirst, containerNow, &c.lines); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) copyLines(w io.Writer, from io.ReaderAt, k key, first, now kind, l *lines) error {
	for _, part := range []struct {
		kind kind
		span span
	}{{first, l.first}, {now, l.last}} {
		if part.span.n == 0 {
			continue
		}
		if _, err := io.Copy(w, io.NewSectionReader(from, part.span.at, int64(part.span.n))); err != nil {
			return err
		}
		k.kind = part.kind
		j.note(k, span{j.size, part.span.n})
		j.size += int64(part.span.n)
	}
	return nil
}
