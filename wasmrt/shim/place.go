package shim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Program is the name by which containerd finds the shim of the runtime type io.containerd.petrel.v1.
const Program = "containerd-shim-petrel-v1"

// Environment variables, which containerd hands on from its own environment.
const (
	// envRoot is where modules and machine code are kept.
	envRoot = "PETREL_SHIM_ROOT"
	// envRun is where sockets and pipes are made.
	envRun = "PETREL_SHIM_RUN"
	// envServe holds further flags of the runtime, with spaces between them.
	envServe = "PETREL_SHIM_SERVE"
	// envIdle is how long a daemon without tasks stays, as Go writes durations.
	envIdle = "PETREL_SHIM_IDLE"
	// envReady tells a daemon of the descriptor for its word to who started it.
	envReady = "PETREL_SHIM_READY"
	// envTTRPC is how containerd tells where it takes events.
	envTTRPC = "TTRPC_ADDRESS"
)

const (
	// outputDir is where the pipes of a daemon's containers are.
	outputDir = "io"

	defaultRoot = "/var/lib/petrel-shim"
	defaultRun  = "/run/petrel-shim"
	// defaultIdle is how long a daemon without tasks stays: the next pod is likely to come soon.
	defaultIdle = time.Minute
	// maxSocket is what the kernel takes of a socket's path.
	maxSocket = 107
	// dirPerm lets runners with user ids of their own come to their pipes and modules. Sockets are closed to them by their own modes.
	dirPerm = 0o711
)

// place is where a daemon and the runtime have their files.
type place struct {
	root, run string
	key       string // of the daemon
	serve     []string
	idle      time.Duration
}

// newPlace finds the place of the daemon for a containerd and its namespace, for this very program.
func newPlace(getenv func(string) string, address, namespace string) (*place, error) {
	if address == "" || namespace == "" {
		return nil, errors.New("containerd's address and namespace are required")
	}
	p := &place{root: getenv(envRoot), run: getenv(envRun), serve: strings.Fields(getenv(envServe)), idle: defaultIdle}
	if p.root == "" {
		p.root = defaultRoot
	}
	if p.run == "" {
		p.run = defaultRun
	}
	if !filepath.IsAbs(p.root) || !filepath.IsAbs(p.run) {
		return nil, fmt.Errorf("%s and %s must be absolute paths", envRoot, envRun)
	}
	if v := getenv(envIdle); v != "" {
		var err error
		if p.idle, err = time.ParseDuration(v); err != nil || p.idle < time.Millisecond*idleChecks {
			return nil, fmt.Errorf("%s is %q: want a duration such as 30s", envIdle, v)
		}
	}
	var self unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &self); err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d\x00%d\x00%d", address, namespace, self.Dev, self.Ino, self.Mtim.Nano(), self.Size))
	p.key = fmt.Sprintf("%x", sum[:8])
	for _, socket := range []string{p.socket(), p.runtime()} {
		if len(socket) > maxSocket {
			return nil, fmt.Errorf("%s is too long for a socket's path: set %s to a shorter one", socket, envRun)
		}
	}
	return p, nil
}

func (p *place) dir() string     { return filepath.Join(p.run, p.key) }
func (p *place) socket() string  { return filepath.Join(p.dir(), "s") }
func (p *place) lock() string    { return filepath.Join(p.dir(), "lock") }
func (p *place) starts() string  { return filepath.Join(p.dir(), "starting") }
func (p *place) output() string  { return filepath.Join(p.dir(), outputDir) }
func (p *place) runtime() string { return filepath.Join(p.run, "wasmrt.sock") }
func (p *place) log() string     { return filepath.Join(p.run, "log") }

// lockOf is the lock that the daemon of another key holds while it lives.
func (p *place) lockOf(key string) string { return filepath.Join(p.run, key, "lock") }

// make makes the directories.
func (p *place) make() error {
	for _, dir := range []string{p.run, p.dir()} {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	return nil
}

// remove removes the daemon's directory. It has another name first: who comes meanwhile makes it anew.
func (p *place) remove() error {
	gone := fmt.Sprintf("%s.%d", p.dir(), os.Getpid())
	if err := os.Rename(p.dir(), gone); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	return os.RemoveAll(gone)
}

// take locks a file for this process. wait says whether to wait for who has it; held, that somebody has.
func take(path string, wait bool) (release func(), held bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("lock: %w", err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, true, nil
		}
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, false, nil
}
