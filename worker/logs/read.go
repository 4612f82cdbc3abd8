package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// followInterval is how often a followed log is looked at. Only followers cost it.
	followInterval = 100 * time.Millisecond
	// maxLine is the longest line that is taken for one record; what is longer comes out in pieces as it stands.
	maxLine = 1 << 20
)

// Options say what of a log is wanted.
type Options struct {
	Follow     bool
	Tail       *int64 // last lines; nil for all
	Since      time.Time
	Timestamps bool
	LimitBytes *int64
	// Stream is "stdout" or "stderr" to leave the other out; empty for both. Tail counts lines of both.
	Stream string
}

// Copy writes a log to w, which is flushed by flush whenever the reader has to wait. alive reports whether the
// container may still write; it ends a follow.
func Copy(ctx context.Context, w io.Writer, flush func(), path string, o Options, alive func() bool) error {
	c := &copier{ctx: ctx, out: &printer{w: w, options: o}, flush: flush, path: path, options: o, alive: alive}
	if o.LimitBytes != nil {
		c.out.w = &limited{w: w, left: *o.LimitBytes}
	}
	err := c.run()
	if c.file != nil {
		_ = c.file.Close()
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

type copier struct {
	ctx     context.Context
	out     *printer
	flush   func()
	path    string
	options Options
	alive   func() bool

	file    *os.File
	reader  *bufio.Reader
	pending []byte // a line whose end has not been written yet
	offset  int64
}

func (c *copier) run() error {
	if err := c.open(); err != nil {
		return err
	}
	if c.options.Tail != nil {
		offset, err := tailOffset(c.file, *c.options.Tail)
		if err != nil {
			return err
		}
		if _, err := c.file.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("seek log: %w", err)
		}
		c.offset = offset
	}
	for {
		alive := c.options.Follow && c.alive() // asked before reading, so that the last words are read after it
		if err := c.drain(); err != nil {
			return err
		}
		if again, err := c.rotated(); err != nil {
			return err
		} else if again {
			continue
		}
		if !alive {
			return c.last()
		}
		c.flush()
		if !c.sleep() {
			return nil
		}
	}
}

// open waits for a log that a starting container has not made yet.
func (c *copier) open() error {
	for {
		alive := c.options.Follow && c.alive()
		file, err := os.Open(c.path)
		if err == nil {
			c.file, c.reader, c.offset = file, bufio.NewReaderSize(file, tailBlock), 0
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) || !alive {
			return fmt.Errorf("open log: %w", err)
		}
		c.flush()
		if !c.sleep() {
			return c.ctx.Err()
		}
	}
}

func (c *copier) sleep() bool {
	select {
	case <-c.ctx.Done():
		return false
	case <-time.After(followInterval):
		return true
	}
}

// drain writes every line that is whole.
func (c *copier) drain() error {
	for c.ctx.Err() == nil {
		part, err := c.reader.ReadSlice('\n')
		c.offset += int64(len(part))
		line := part
		if len(c.pending) > 0 || err != nil {
			c.pending = append(c.pending, part...)
			line = c.pending
		}
		switch {
		case err == nil, len(c.pending) >= maxLine:
			if err := c.out.line(line); err != nil {
				return err
			}
			c.pending = c.pending[:0]
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("read log: %w", err)
		}
	}
	return nil
}

// finish reads what came into a file between the last look at it and the new file's beginning.
func (c *copier) finish() error {
	if err := c.drain(); err != nil {
		return err
	}
	err := c.last()
	c.pending = c.pending[:0]
	return err
}

// last writes what a container that died left without a newline.
func (c *copier) last() error {
	if len(c.pending) == 0 {
		return nil
	}
	return c.out.line(append(c.pending, '\n'))
}

// rotated goes over to a new file under the same name, or to the start of one that was cut.
func (c *copier) rotated() (bool, error) {
	if !c.options.Follow {
		return false, nil
	}
	now, err := os.Stat(c.path)
	if err != nil {
		return false, nil // between two names, or removed with its pod: alive decides
	}
	have, err := c.file.Stat()
	if err != nil {
		return false, fmt.Errorf("stat log: %w", err)
	}
	switch {
	case !os.SameFile(now, have):
		if err := c.finish(); err != nil {
			return false, err
		}
		_ = c.file.Close()
		return true, c.open()
	case now.Size() < c.offset:
		c.pending, c.offset = c.pending[:0], 0
		_, err := c.file.Seek(0, io.SeekStart)
		c.reader.Reset(c.file)
		return true, err
	default:
		return false, nil
	}
}

// printer turns records into what clients read.
type printer struct {
	w       io.Writer
	options Options
	within  bool // a line in parts has been begun
	buffer  []byte
}

func (p *printer) line(line []byte) error {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	record, err := Parse(line)
	if err != nil {
		record = Record{Content: line}
	}
	if !p.options.Since.IsZero() && !record.Time.IsZero() && record.Time.Before(p.options.Since) {
		return nil
	}
	if p.options.Stream != "" && record.Stream != p.options.Stream {
		return nil
	}
	p.buffer = p.buffer[:0]
	if p.options.Timestamps && !p.within && !record.Time.IsZero() {
		p.buffer = record.Time.UTC().AppendFormat(p.buffer, time.RFC3339Nano)
		p.buffer = append(p.buffer, ' ')
	}
	p.buffer = append(p.buffer, record.Content...)
	if p.within = record.Partial; !record.Partial {
		p.buffer = append(p.buffer, '\n')
	}
	_, err = p.w.Write(p.buffer)
	return err
}

var errLimit = errors.New("byte limit reached")

// limited lets so many bytes through and then ends the copy.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) >= l.left {
		if _, err := l.w.Write(p[:l.left]); err != nil {
			return 0, err
		}
		l.left = 0
		return 0, errLimit
	}
	l.left -= int64(len(p))
	return l.w.Write(p)
}
