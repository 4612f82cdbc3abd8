package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	dirPerm  = 0o700 // environments hold secrets
	filePerm = 0o600

	runnersDir  = "runners"
	runnerFile  = "runner.json"
	runtimeFile = "runtime.json"
	groupsFile  = "groups.json"
	usersFile   = "users.json"
	journalFile = "journal"
	lockFile    = "lock"
)

// ErrLocked is what Lock answers when another process serves the root.
var ErrLocked = errors.New("another supervisor serves this root")

// Store reads and writes the records below a root directory. Writers of one record take turns among themselves.
type Store struct {
	root    string
	journal journal
}

// New returns the store at root. It does no I/O.
func New(root string) *Store {
	return &Store{root: root, journal: journal{path: filepath.Join(root, journalFile)}}
}

// Root is the directory that the store was made with.
func (s *Store) Root() string { return s.root }

// Lock makes the directories and takes the root for this process, until release is called or the process ends.
func (s *Store) Lock() (release func(), err error) {
	for _, dir := range []string{s.root, filepath.Join(s.root, runnersDir)} {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(s.root, lockFile), os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", s.root, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", s.root, err)
	}
	s.journal.reopen()
	return func() { _, _ = s.journal.close(), f.Close() }, nil // both were only written to
}

// CreateSandbox writes the sandbox's first record.
func (s *Store) CreateSandbox(r *Sandbox) error {
	return s.journal.add(key{kind: sandboxFirst, sandbox: r.ID}, r)
}

// UpdateSandbox writes down what has become of the sandbox; its configuration stays as it was.
func (s *Store) UpdateSandbox(r *Sandbox) error {
	update := *r
	update.Config = nil
	return s.journal.add(key{kind: sandboxNow, sandbox: r.ID}, &update)
}

// CreateContainer writes the container's first record. Its sandbox's must have been written.
func (s *Store) CreateContainer(r *Container) error {
	return s.journal.add(key{containerFirst, r.SandboxID, r.ID}, r)
}

// UpdateContainer writes down what has become of the container; its configuration stays as it was.
func (s *Store) UpdateContainer(r *Container) error {
	update := *r
	update.Config = nil
	return s.journal.add(key{containerNow, r.SandboxID, r.ID}, &update)
}

// RemoveSandbox removes the sandbox's record and those of its containers.
func (s *Store) RemoveSandbox(id string) error {
	return s.journal.add(key{kind: sandboxGone, sandbox: id}, nil)
}

// RemoveContainer removes the container's record.
func (s *Store) RemoveContainer(sandboxID, id string) error {
	return s.journal.add(key{containerGone, sandboxID, id}, nil)
}

// SaveRunner writes the runner's record.
func (s *Store) SaveRunner(r *Runner) error {
	return s.save(filepath.Join(runnersDir, r.Key, runnerFile), r)
}

// SaveRuntime writes the runtime's configuration.
func (s *Store) SaveRuntime(r *Runtime) error { return s.save(runtimeFile, r) }

// SaveGroups writes down where the runners' groups are, so that whoever comes next finds what is left of them.
func (s *Store) SaveGroups(g *Groups) error { return s.save(groupsFile, g) }

// Groups answers what SaveGroups wrote; nothing when it wrote nothing that can be read.
func (s *Store) Groups() *Groups {
	g := &Groups{}
	if raw, err := readFile(filepath.Join(s.root, groupsFile)); err == nil {
		_ = json.Unmarshal(raw, g) // what is lost of it are empty groups
	}
	return g
}

// UsersFile is where the runners' user ids are kept.
func (s *Store) UsersFile() string { return filepath.Join(s.root, usersFile) }

// RunnerDir is the directory of a runner, where its log is.
func (s *Store) RunnerDir(key string) string { return filepath.Join(s.root, runnersDir, key) }

// RemoveRunner removes the runner's record. What it has logged stays, if there is any: most runners say nothing, and
// those that died are to be asked why.
func (s *Store) RemoveRunner(key string) error {
	entries, err := os.ReadDir(s.RunnerDir(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := false
	for _, e := range entries {
		info, err := e.Info()
		if strings.HasSuffix(e.Name(), ".log") && err == nil && info.Size() > 0 {
			kept = true
			continue
		}
		if err := os.Remove(filepath.Join(s.RunnerDir(key), e.Name())); err != nil {
			return err
		}
	}
	if kept {
		return nil
	}
	return os.Remove(s.RunnerDir(key))
}
