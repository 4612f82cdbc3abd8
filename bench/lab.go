package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// guest answers the bytes of the tests' HTTP guest, written in Go.
func (l *lab) guest(ctx context.Context) ([]byte, error) {
	path, err := l.tree.Guest(ctx, "probe", true)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// baseline is a running bench/baseline.
type baseline struct {
	address string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
}

// startBaseline starts the plain server, told by its arguments where and what.
func (l *lab) startBaseline(ctx context.Context, args ...string) (*baseline, error) {
	path, err := l.tree.Program(ctx, "./bench/baseline")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start baseline: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start baseline: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start baseline: %w", err)
	}
	b := &baseline{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.stop()
		return nil, fmt.Errorf("start baseline: %w", err)
	}
	b.address = strings.TrimSpace(line)
	return b, nil
}

func (b *baseline) stop() {
	b.stdin.Close() // it ends when its standard input does
	_ = b.cmd.Wait()
}
