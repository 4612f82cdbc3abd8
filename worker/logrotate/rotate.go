package logrotate

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What stands behind a log's name: the time when it was moved aside, and how it is kept.
const (
	stamp      = "20060102-150405"
	compressed = ".gz"
	unfinished = ".tmp"
)

// Reopen has a container write to a new file at its log's path.
type Reopen func(ctx context.Context, containerID string) error

// rotate moves the log aside and has the container go on in a new file; keep is how many are left aside.
func rotate(ctx context.Context, id, path string, keep int, now time.Time, reopen Reopen) error {
	if err := tidy(ctx, path, keep-1); err != nil {
		return err
	}
	aside := path + "." + now.UTC().Format(stamp)
	if err := moveAside(path, aside); err != nil {
		return err
	}
	if err := reopen(ctx, id); err != nil {
		if _, missing := os.Lstat(path); errors.Is(missing, fs.ErrNotExist) {
			err = errors.Join(err, os.Rename(aside, path)) // the container writes to it still
		}
		return fmt.Errorf("reopen log: %w", err)
	}
	return nil
}

// moveAside never overwrites: two rotations within a second are one too many.
func moveAside(path, aside string) error {
	for _, name := range []string{aside, aside + compressed} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("move log aside: %s is there already", filepath.Base(name))
		}
	}
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("move log aside: %w", err)
	}
	return nil
}

// tidy compresses what lies aside and removes all of it but the newest so many.
func tidy(ctx context.Context, path string, keep int) error {
	aside, leftovers, err := beside(path)
	if err != nil {
		return err
	}
	for _, name := range leftovers {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove unfinished log: %w", err)
		}
	}
	slices.Sort(aside) // by time
	surplus := max(0, len(aside)-max(0, keep))
	for _, name := range aside[:surplus] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove old log: %w", err)
		}
	}
	for _, name := range aside[surplus:] {
		if strings.HasSuffix(name, compressed) {
			continue
		}
		if err := compress(ctx, name); err != nil {
			return fmt.Errorf("compress old log: %w", err)
		}
	}
	return nil
}

// beside finds what was moved aside of a log, and what was left of a compression that did not end.
func beside(path string) (aside, leftovers []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, nil, fmt.Errorf("list logs: %w", err)
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(filepath.Dir(path), e.Name())
		if strings.HasSuffix(rest, unfinished) {
			leftovers = append(leftovers, name)
			continue
		}
		if _, err := time.Parse(stamp, strings.TrimSuffix(rest, compressed)); err == nil {
			aside = append(aside, name)
		}
	}
	return aside, leftovers, nil
}

// compress replaces a file by its compressed form, which is in place whole or not at all.
func compress(ctx context.Context, path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path+unfinished, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, &interruptible{ctx, in})
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path+unfinished))
	}
	if err := os.Rename(path+unfinished, path+compressed); err != nil {
		return err
	}
	return os.Remove(path)
}

// interruptible is a file that ends with its context: a worker that is to end does not wait for a long log.
type interruptible struct {
	ctx  context.Context
	file *os.File
}

func (r *interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.file.Read(p)
}

// Remove removes a log with all that was moved aside of it. One that is not there is removed.
func Remove(path string) error {
	aside, leftovers, err := beside(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range append(append(aside, leftovers...), path) {
		if e := os.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
