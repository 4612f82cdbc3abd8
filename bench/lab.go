package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/test/toolchain"
)

// lab is what the rows measure with: the built programs and a folder for what they write.
type lab struct {
	tree *toolchain.Tree
	dir  string
	next int

	idleMemory *idleMemory // measured once for several rows
	scaled     *scaled
	idlePods   *idlePods
	resting    *resting
}

func newLab(ctx context.Context) (*lab, error) {
	tree, err := toolchain.Find()
	if err != nil {
		return nil, err
	}
	if _, err := tree.Binaries(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "petrel-bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	return &lab{tree: tree, dir: dir}, nil
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

// folder makes a new folder.
func (l *lab) folder() (string, error) {
	l.next++
	dir := filepath.Join(l.dir, fmt.Sprint(l.next))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return dir, nil
}

// withCluster runs fn on a new cluster whose node is ready, and ends the cluster.
func (l *lab) withCluster(ctx context.Context, args []string, fn func(*cluster.Cluster) error) error {
	dir, err := l.folder()
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Binaries: l.tree.Bin(), Args: args})
	if err != nil {
		return err
	}
	if err = nodeReady(ctx, c, time.Time{}); err == nil {
		err = fn(c)
	}
	if err != nil {
		err = fmt.Errorf("%w\nlog ends:\n%s", err, cluster.Tail(c.LogPath(), 20))
	}
	return errors.Join(err, c.Stop(context.WithoutCancel(ctx)), os.RemoveAll(dir))
}

// withSplit is withCluster for a control plane and a worker in processes of their own.
func (l *lab) withSplit(ctx context.Context, fn func(*cluster.Split) error) error {
	dir, err := l.folder()
	if err != nil {
		return err
	}
	s, err := cluster.StartSplit(ctx, cluster.Options{Dir: dir, Binaries: l.tree.Bin()})
	if err != nil {
		return err
	}
	if err = nodeReady(ctx, s.Cluster(), time.Time{}); err == nil {
		err = fn(s)
	}
	if err != nil {
		err = fmt.Errorf("%w\nlogs end:\n%s\n%s", err, cluster.Tail(s.LogPath("controlplane"), 10), cluster.Tail(s.LogPath("worker"), 20))
	}
	return errors.Join(err, s.Stop(context.WithoutCancel(ctx)), os.RemoveAll(dir))
}

// The HTTP guests of the rows, written in Go.
const (
	probeGuest = "probe" // a program with routes, as applications are
	plainGuest = "plain" // does what the baseline does, for rows that divide by it
	// goPlainGuest is the same without net/http, cPlainGuest in C and without any library.
	goPlainGuest = "goplain"
	cPlainGuest  = "cplain"
)

// guest answers the bytes of one of them.
func (l *lab) guest(ctx context.Context, name string) ([]byte, error) {
	path, err := l.tree.Guest(ctx, name, true)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
