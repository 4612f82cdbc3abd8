package containerdtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/petrelrun/petrel/worker/containerd"
	"github.com/petrelrun/petrel/worker/cri"
)

const (
	// programEnv names another containerd than the one on PATH.
	programEnv = "PETREL_CONTAINERD"
	// readyTimeout bounds the start on a busy machine; it takes half a second on an idle one.
	readyTimeout = 60 * time.Second
	// endTimeout bounds the end of all pods and of the daemon.
	endTimeout = 60 * time.Second
)

// Config is what a test may want otherwise. The zero value is right for most.
type Config struct {
	// Program is the containerd to run; V2 answers one. Empty: PETREL_CONTAINERD or the one on PATH.
	Program string
	// CNIConfDir and CNIBinDir replace the network of Debian's ptp plugin, which gives pods addresses of 10.88.0.0/16
	// that the daemon's network namespace reaches.
	CNIConfDir, CNIBinDir string
	// Netns is the network namespace to work in; empty: one of the daemon's own.
	Netns string
	// Handlers are there beside runc.
	Handlers []containerd.Handler
}

// Containerd is a running containerd.
type Containerd struct {
	// Dir is removed when the test ends. LogDir is a directory in it for the logs of pods.
	Dir, LogDir string
	// Netns is the path of the network namespace that it works in: pods of the host's network are in it, and pods'
	// addresses are reached from it.
	Netns string
	// CgroupParent is what each sandbox's cgroup_parent has to begin with. Sandbox sees to it.
	CgroupParent string
	// CRI is a client of it.
	CRI *cri.Client

	tb      testing.TB
	program containerd.Program
	daemon  *containerd.Daemon
	images  *containerd.Client

	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan error
	pods   int
}

// Start starts one, and ends it with the test.
func Start(tb testing.TB, cfg Config) *Containerd {
	tb.Helper()
	need(tb)
	program, err := containerd.Find(tb.Context(), cmp.Or(cfg.Program, os.Getenv(programEnv)))
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ptl-ctd-") // short: sockets are in it
	if err != nil {
		tb.Fatal(err)
	}
	c := &Containerd{Dir: dir, LogDir: filepath.Join(dir, "logs"), CgroupParent: "/" + filepath.Base(dir), Netns: cfg.Netns, tb: tb, program: program}
	tb.Cleanup(c.end)
	if err := os.Chmod(dir, 0o755); err != nil { // pods' users look into it
		tb.Fatal(err)
	}
	if c.Netns == "" {
		c.Netns = newNetns(tb)
	}
	c.configure(cfg)
	c.CRI, err = cri.New(cri.Config{Endpoint: c.Socket()})
	if err != nil {
		tb.Fatal(err)
	}
	if c.images, err = containerd.NewClient(c.Socket()); err != nil {
		tb.Fatal(err)
	}
	c.run()
	return c
}

// need skips tests of users who cannot have containers.
func need(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skipf("%s needs root, to run containers", tb.Name())
	}
}

func (c *Containerd) configure(cfg Config) {
	c.tb.Helper()
	confDir, binDir := cfg.CNIConfDir, cfg.CNIBinDir
	if confDir == "" {
		confDir, binDir = filepath.Join(c.Dir, "cni"), debianPlugins
		c.writeNetwork(confDir)
	}
	handlers := []containerd.Handler{}
	for _, h := range containerd.Handlers() {
		if h.Name == "runc" {
			handlers = append(handlers, h)
		}
	}
	var err error
	c.daemon, err = containerd.New(containerd.Config{
		Program: c.program, Root: filepath.Join(c.Dir, "r"), State: filepath.Join(c.Dir, "s"),
		CNIConfDir: confDir, CNIBinDirs: []string{binDir}, RegistryConfigDir: c.RegistryConfigDir(), Netns: c.Netns,
		Handlers: append(handlers, cfg.Handlers...), RestrictOOM: true, Tied: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	if err := os.MkdirAll(c.LogDir, 0o755); err != nil {
		c.tb.Fatal(err)
	}
}

// debianPlugins is where Debian's containernetworking-plugins are.
const debianPlugins = "/usr/lib/cni"

// writeNetwork has pods in a network of their own behind the daemon's.
func (c *Containerd) writeNetwork(dir string) {
	c.tb.Helper()
	conflist := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"ptp","ipMasq":false,
"ipam":{"type":"host-local","dataDir":%q,"subnet":"10.88.0.0/16","routes":[{"dst":"0.0.0.0/0"}]}}]}`, filepath.Join(c.Dir, "ipam"))
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "10-test.conflist"), []byte(conflist), 0o644)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
}

func (c *Containerd) run() {
	c.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the test's context, to end its pods
	done := make(chan error, 1)
	c.mu.Lock()
	c.cancel, c.done = cancel, done
	c.mu.Unlock()
	go func() { done <- c.daemon.Run(ctx) }()
	c.AwaitReady()
}

// AwaitReady waits until pods can run: after Start has returned, only after Kill.
func (c *Containerd) AwaitReady() {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	err := c.daemon.Ready(ctx)
	if err == nil {
		err = c.CRI.WaitReady(ctx)
	}
	if err != nil {
		c.tb.Fatalf("containerd %s does not serve: %v; its log ends:\n%s", c.program.Version, err, c.logTail())
	}
}

// logTail is the end of containerd's log.
func (c *Containerd) logTail() string {
	raw, err := os.ReadFile(c.daemon.Log())
	if err != nil {
		return err.Error()
	}
	const enough = 4 << 10
	return strings.ToValidUTF8(string(raw[max(0, len(raw)-enough):]), "")
}

// Socket is where it serves the CRI.
func (c *Containerd) Socket() string { return c.daemon.Socket() }

// Version is what it calls itself.
func (c *Containerd) Version() string { return c.program.Version }

// Major is the first number of its version.
func (c *Containerd) Major() int { return c.program.Major }

// RegistryConfigDir is where a test writes HOST/hosts.toml to lead a registry's name elsewhere.
func (c *Containerd) RegistryConfigDir() string { return filepath.Join(c.Dir, "certs.d") }

// PID is the process.
func (c *Containerd) PID() int {
	c.tb.Helper()
	pid, err := c.daemon.PID()
	if err != nil {
		c.tb.Fatal(err)
	}
	return pid
}

// Kill ends it by SIGKILL. It is started again by itself: AwaitReady waits for that.
func (c *Containerd) Kill() {
	c.tb.Helper()
	process, err := os.FindProcess(c.PID())
	if err == nil {
		err = process.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.tb.Fatal(err)
	}
}

// Import gives it an image under a full name, such as test.petrel.internal/app:1.
func (c *Containerd) Import(name string, image v1.Image) {
	c.tb.Helper()
	if err := c.images.Import(context.Background(), name, image); err != nil {
		c.tb.Fatal(err)
	}
}
