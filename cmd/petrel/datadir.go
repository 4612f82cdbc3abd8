package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// passDir is the mode of directories that runners, which have users of their own, pass through on their way to logs,
// volumes and modules. They cannot be listed, and what is private below has modes of its own.
const passDir = 0o711

// dataDir is a directory that one petrel process owns.
type dataDir struct {
	path string
	lock *os.File
}

// defaultDataDir is where state lives when no flag says so: the system's place for root, the user's otherwise.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/petrel"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "petrel")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".petrel"
	}
	return filepath.Join(home, ".local", "share", "petrel")
}

// openDataDir makes the directory and takes its lock, so that two processes never share one etcd. The kernel drops
// the lock with the process, however it ends.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	if err := os.MkdirAll(path, passDir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another petrel: stop that one, or name another directory with --data-dir", path)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return &dataDir{path: path, lock: lock}, nil
}

func (d *dataDir) join(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close gives the directory back.
func (d *dataDir) Close() error { return d.lock.Close() }

// whereabouts is petrel.json: what a script needs to find a running petrel when ports were left to the kernel.
type whereabouts struct {
	API       string `json:"api,omitempty"`     // URL
	Gateway   string `json:"gateway,omitempty"` // host:port
	PID       int    `json:"pid"`
	WasmrtPID int    `json:"wasmrtPid,omitempty"`
}

// publisher keeps petrel.json true while the runtime comes and goes.
type publisher struct {
	dir    *dataDir
	logger *slog.Logger

	mu    sync.Mutex
	where *whereabouts // nil until everything is up: the file stands for that too
}

// up writes the file for the first time.
func (p *publisher) up(w whereabouts) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.where = &w
	return p.dir.publish(w)
}

// found notes another process of the runtime.
func (p *publisher) found(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.where == nil || p.where.WasmrtPID == pid {
		return
	}
	p.where.WasmrtPID = pid
	if err := p.dir.publish(*p.where); err != nil {
		p.logger.Error("petrel.json names an old petrel-wasmrt", "error", err)
	}
}

// publish writes petrel.json in one step: a reader sees all of it or the one before.
func (d *dataDir) publish(w whereabouts) error {
	data, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err
	}
	tmp := d.join("petrel.json.tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write petrel.json: %w", err)
	}
	return os.Rename(tmp, d.join("petrel.json"))
}
