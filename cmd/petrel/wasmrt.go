package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/controlplane/api"
)

const (
	// wasmrtBackoffMin and wasmrtBackoffMax bound the pause before petrel-wasmrt is started again; it doubles from
	// one to the other while the process keeps dying young.
	wasmrtBackoffMin = 250 * time.Millisecond
	wasmrtBackoffMax = 10 * time.Second
	// wasmrtGrownUp is how long it must have run for its death to count as the first.
	wasmrtGrownUp = 30 * time.Second
	// wasmrtStopTimeout bounds the end of the supervisor and of the runners, who give requests a grace and then die.
	wasmrtStopTimeout = 20 * time.Second
	// stopRetry is the pause between two looks whether the supervisor is gone.
	stopRetry = 100 * time.Millisecond
	// socketPathLimit leaves room in a socket's address (108 bytes) for its final zero byte, and for the longer name
	// that the metrics' socket has beside it.
	socketPathLimit = 103
	// pidPoll is how often the runtime's process is looked for while it starts.
	pidPoll = 20 * time.Millisecond
	// dialTimeout bounds the look whether somebody serves on the socket. It is local: an answer is immediate.
	dialTimeout = time.Second
)

// wasmrt keeps a petrel-wasmrt serving beside this process. It does not own it as a parent owns a child: guests run
// on when petrel dies, so the process gets a session and a log file of its own, and one that is found serving on the
// socket is adopted.
type wasmrt struct {
	Binary string
	Root   string
	Socket string
	// Metrics is the socket on which the runtime serves its metrics.
	Metrics string
	// Steer is the socket on which the worker takes the runtime's listening sockets; empty: it takes none.
	Steer  string
	Mirror string // HOST=URL: where registry names of our own are pulled from
	// RegistryCA and RegistryCredential are files for a Mirror that speaks TLS: who vouches for it, and what is shown to it.
	RegistryCA, RegistryCredential string
	// Registries is a directory of settings of other registries.
	Registries string
	Logger     *slog.Logger
	// AllowPaths are directories in which runners find mounts and write logs; they are let in nowhere else. Those that
	// are missing are made.
	AllowPaths []string
	// Found is told the process whenever another one serves, from the goroutine of Run.
	Found func(pid int)

	child *child // the last one that we started; nil when there was none. Run's until it returns, then Stop's.
}

// child is a petrel-wasmrt that we started.
type child struct {
	process *os.Process
	ended   chan struct{} // closed when it is reaped; err is set then
	err     error
}

// newWasmrt says where the runtime is to be and finds its program.
func newWasmrt(binary, root, registry string, logger *slog.Logger) (*wasmrt, error) {
	binary, err := findWasmrt(binary)
	if err != nil {
		return nil, err
	}
	socket, err := socketIn(root)
	if err != nil {
		return nil, err
	}
	return &wasmrt{
		Binary: binary, Root: root, Socket: socket, Metrics: filepath.Join(filepath.Dir(socket), "metrics.sock"),
		Mirror: api.RegistryHost + "=" + registry, Logger: logger.With("room", "wasmrt"), Found: func(int) {},
	}, nil
}

// socketIn answers the runtime's socket: below root, or, where that path does not fit into a socket address
// (sockaddr_un has 108 bytes), in a private directory of the temporary one that root's path leads to.
func socketIn(root string) (string, error) {
	socket := filepath.Join(root, "cri.sock")
	if len(socket) < socketPathLimit {
		return socket, nil
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("petrel-%d-%x", os.Getuid(), sum[:6]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make socket directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("check socket directory: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(stat.Uid) != os.Getuid() {
		return "", fmt.Errorf("socket directory %s is not ours alone: remove it, or name a shorter --data-dir", dir)
	}
	return filepath.Join(dir, "cri.sock"), nil
}

// findWasmrt answers the binary: the one that was named, the one beside this program, or the one on PATH.
func findWasmrt(named string) (string, error) {
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("find petrel-wasmrt: %w", err)
		}
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "petrel-wasmrt")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("petrel-wasmrt")
	if err != nil {
		return "", errors.New("find petrel-wasmrt: it is neither beside this program nor on PATH; name it with --wasmrt")
	}
	return path, nil
}

// Run keeps the runtime serving until ctx ends. It does not stop it: that is Stop's.
func (w *wasmrt) Run(ctx context.Context) error {
	backoff := wasmrtBackoffMin
	for ctx.Err() == nil {
		if conn, err := net.DialTimeout("unix", w.Socket, dialTimeout); err == nil {
			w.Logger.Info("adopted a running petrel-wasmrt", "socket", w.Socket)
			if pid, err := socketPeer(w.Socket); err == nil {
				w.Found(pid)
			}
			waitClosed(ctx, conn)
			continue
		}
		started := time.Now()
		err := w.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.Logger.Error("petrel-wasmrt ended; its runners go on, and it is started again", "error", err, "after", backoff)
		if time.Since(started) > wasmrtGrownUp {
			backoff = wasmrtBackoffMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, wasmrtBackoffMax)
	}
	return nil
}

// waitClosed blocks until the peer closes conn, or ctx ends. The server never speaks first on a connection that says
// nothing, so a read ends only when the peer is gone or has lost patience; the caller looks which.
func waitClosed(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	io.Copy(io.Discard, conn)
}

// PID waits until somebody serves on the socket and answers who.
func (w *wasmrt) PID(ctx context.Context) (int, error) {
	for {
		if pid, err := socketPeer(w.Socket); err == nil {
			return pid, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(pidPoll):
		}
	}
}

// socketPeer asks the kernel which process listens on a unix socket.
func socketPeer(socket string) (int, error) {
	conn, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// serve starts petrel-wasmrt and waits for its end, or for ctx's, at which it is left alone.
func (w *wasmrt) serve(ctx context.Context) error {
	if err := os.MkdirAll(w.Root, passDir); err != nil {
		return fmt.Errorf("make runtime directory: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(w.Root, "wasmrt.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open runtime log: %w", err)
	}
	defer log.Close()
	args := []string{"serve", "--root", w.Root, "--socket", w.Socket, "--registry-mirror", w.Mirror, "--metrics-listen", "unix:" + w.Metrics,
		"--trust-annotations"} // they are the worker's, which lets no pod's own through
	if w.Registries != "" {
		args = append(args, "--registry-config", w.Registries)
	}
	for _, dir := range w.AllowPaths {
		if err := os.MkdirAll(dir, passDir); err != nil {
			return fmt.Errorf("make directory for runners: %w", err)
		}
		args = append(args, "--allow-path", dir)
	}
	if w.Steer != "" {
		args = append(args, "--steer-socket", w.Steer)
	}
	if w.RegistryCA != "" {
		args = append(args, "--registry-ca", w.RegistryCA, "--registry-credential", w.RegistryCredential)
	}
	cmd := exec.Command(w.Binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: the terminal's Ctrl-C is for petrel, which ends its parts in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start petrel-wasmrt: %w", err)
	}
	w.Logger.Info("started petrel-wasmrt", "pid", cmd.Process.Pid, "log", log.Name())
	w.Found(cmd.Process.Pid)
	c := &child{process: cmd.Process, ended: make(chan struct{})}
	w.child = c
	go func() { // ends with the process, which Stop ends
		c.err = cmd.Wait()
		close(c.ended)
	}()
	select {
	case <-c.ended:
		return fmt.Errorf("petrel-wasmrt: %w (see %s)", exitError(c.err), log.Name())
	case <-ctx.Done():
		return nil
	}
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exited with 0")
	}
	return err
}

// Stop ends the runtime and every runner. It comes after Run.
func (w *wasmrt) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), wasmrtStopTimeout)
	defer cancel()
	if err := w.endSupervisor(ctx); err != nil {
		return err
	}
	// The supervisor leaves its runners running; `petrel-wasmrt stop` ends them, once the supervisor is gone.
	for {
		out, err := exec.CommandContext(ctx, w.Binary, "stop", "--root", w.Root).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end runners: %w: %s", err, bytes.TrimSpace(out))
		case <-time.After(stopRetry):
		}
	}
}

// endSupervisor ends the one that we started, which may not serve yet, or else the one that serves.
func (w *wasmrt) endSupervisor(ctx context.Context) error {
	if w.child != nil {
		if err := w.child.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end petrel-wasmrt: %w", err)
		}
		select {
		case <-w.child.ended:
		case <-ctx.Done():
			return errors.New("end petrel-wasmrt: it goes on after SIGTERM")
		}
	}
	pid, err := socketPeer(w.Socket)
	if err != nil {
		return nil // nobody serves
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end petrel-wasmrt (process %d): %w", pid, err)
	}
	return nil
}
