package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	dirPerm  = 0o700 // environments hold secrets
	filePerm = 0o600

	sandboxesDir    = "sandboxes"
	runnersDir      = "runners"
	sandboxFile     = "sandbox.json"
	containerPrefix = "container-"
	runnerFile      = "runner.json"
	runtimeFile     = "runtime.json"
	groupsFile      = "groups.json"
	usersFile       = "users.json"
	lockFile        = "lock"
	suffix          = ".json"
)

// ErrLocked is what Lock answers when another process serves the root.
var ErrLocked = errors.New("another supervisor serves this root")

// Store reads and writes the records below a root directory. Writers of one record take turns among themselves.
type Store struct {
	root string
}

// New returns the store at root. It does no I/O.
func New(root string) *Store { return &Store{root: root} }

// Root is the directory that the store was made with.
func (s *Store) Root() string { return s.root }

// Lock makes the directories and takes the root for this process, until release is called or the process ends.
func (s *Store) Lock() (release func(), err error) {
	for _, dir := range []string{s.root, filepath.Join(s.root, sandboxesDir), filepath.Join(s.root, runnersDir)} {
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
	return func() { _ = f.Close() }, nil
}

// SaveSandbox writes the sandbox's record.
func (s *Store) SaveSandbox(r *Sandbox) error {
	return s.save(filepath.Join(sandboxesDir, r.ID, sandboxFile), r)
}

// SaveContainer writes the container's record. Its sandbox's must have been written.
func (s *Store) SaveContainer(r *Container) error {
	return s.save(filepath.Join(sandboxesDir, r.SandboxID, containerPrefix+r.ID+suffix), r)
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

// RemoveSandbox removes the sandbox's record and those of its containers.
func (s *Store) RemoveSandbox(id string) error {
	if !ValidID(id) {
		return fmt.Errorf("remove sandbox: %q is no id", id)
	}
	return os.RemoveAll(filepath.Join(s.root, sandboxesDir, id))
}

// RemoveContainer removes the container's record.
func (s *Store) RemoveContainer(sandboxID, id string) error {
	err := os.Remove(filepath.Join(s.root, sandboxesDir, sandboxID, containerPrefix+id+suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

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

func (s *Store) save(name string, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	path := filepath.Join(s.root, name)
	if err := writeFile(path, raw); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}

// writeFile replaces path by rename. The directory is made when it is missing, which is the rare case.
func writeFile(path string, raw []byte) error {
	tmp := path + ".tmp" // one writer a record: no need of a random name
	err := os.WriteFile(tmp, raw, filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), dirPerm); err == nil {
			err = os.WriteFile(tmp, raw, filePerm)
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readFile reads a record of at most MaxRecord bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err == nil && len(raw) > MaxRecord {
		err = fmt.Errorf("record is larger than %d bytes", MaxRecord)
	}
	return raw, err
}

func containerID(file string) (string, bool) {
	id, ok := strings.CutPrefix(file, containerPrefix)
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(id, suffix)
	return id, ok && ValidID(id)
}
