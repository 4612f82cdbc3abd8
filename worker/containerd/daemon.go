package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Daemon is a containerd of our own.
type Daemon struct {
	cfg    Config
	pause  v1.Image
	name   string // of the pause image
	config []byte

	mu    sync.Mutex
	ready chan struct{} // closed while the daemon serves and has the pause image
	child *child        // the last one that we started
}

// New makes a daemon; it does no I/O.
func New(cfg Config) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure containerd: %w", err)
	}
	d := &Daemon{cfg: cfg, ready: make(chan struct{})}
	var err error
	if d.name, d.pause, err = PauseImage(); err != nil {
		return nil, err
	}
	if d.config, err = cfg.text(d.name); err != nil {
		return nil, fmt.Errorf("write containerd configuration: %w", err)
	}
	return d, nil
}

// Socket is where the daemon serves the CRI and its own API.
func (d *Daemon) Socket() string { return d.cfg.socket() }

// Log is where the daemon writes.
func (d *Daemon) Log() string { return d.cfg.logFile() }

// Ready waits until pods can be run.
func (d *Daemon) Ready(ctx context.Context) error {
	d.mu.Lock()
	ready := d.ready
	d.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// PID is the process that serves.
func (d *Daemon) PID() (int, error) { return peer(d.Socket()) }

// Run keeps the daemon serving until ctx ends, and then leaves it to itself: what it runs goes on. Stop ends it.
func (d *Daemon) Run(ctx context.Context) error {
	changed, err := d.prepare()
	if err != nil {
		return err
	}
	if changed { // one that serves with another configuration, or of another version
		if err := d.Stop(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	backoff := backoffMin
	for ctx.Err() == nil {
		if conn, err := net.DialTimeout("unix", d.Socket(), dialTimeout); err == nil {
			d.cfg.Logger.Info("took over a running containerd", "socket", d.Socket())
			d.while(ctx, func(ctx context.Context) error { waitClosed(ctx, conn); return nil })
			continue
		}
		started := time.Now()
		err := d.while(ctx, d.serve)
		if ctx.Err() != nil {
			return nil
		}
		d.cfg.Logger.Error("containerd ended; its containers go on, and it is started again", "error", err, "after", backoff)
		if time.Since(started) > grownUp {
			backoff = backoffMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffMax)
	}
	return nil
}

// while runs the part of the daemon's life that serve waits through, with the sandbox image kept beside it, and what it has
// lost removed.
func (d *Daemon) while(ctx context.Context, serve func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { d.keepImage(ctx) })
	beside.Go(func() { d.keepClean(ctx) })
	err := serve(ctx)
	cancel()
	beside.Wait()
	d.setReady(false)
	return err
}

func (d *Daemon) setReady(ready bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.ready:
		if !ready {
			d.ready = make(chan struct{})
		}
	default:
		if ready {
			close(d.ready)
		}
	}
}

// keepImage has the sandbox image in the daemon until ctx ends.
func (d *Daemon) keepImage(ctx context.Context) {
	client, err := NewClient(d.Socket())
	if err != nil { // a path that Validate has let through is an address
		d.cfg.Logger.Error("sandbox image is not kept", "error", err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		pause := imagePeriod
		if err := d.keepOnce(ctx, client); err != nil {
			d.cfg.Logger.Debug("sandbox image was not looked for", "error", err) // the daemon starts, or goes
			pause = readyPoll
		} else {
			d.setReady(true)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// keepOnce asks only when there is a socket: gRPC cries out for each attempt to connect to none, and backs off.
func (d *Daemon) keepOnce(ctx context.Context, client *Client) error {
	conn, err := net.DialTimeout("unix", d.Socket(), dialTimeout)
	if err != nil {
		return err
	}
	conn.Close()
	client.conn.ResetConnectBackoff()
	return client.keepPause(ctx, d.name, d.pause)
}

// prepare makes the daemon's directories and writes its configuration, and reports whether that is another than before.
func (d *Daemon) prepare() (changed bool, err error) {
	for _, dir := range []string{d.cfg.Root, d.cfg.State, d.cfg.CNIConfDir, d.cfg.RegistryConfigDir} {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return false, fmt.Errorf("make containerd directory: %w", err)
		}
	}
	file := d.cfg.configFile()
	if have, err := os.ReadFile(file); err == nil && string(have) == string(d.config) {
		return false, nil
	}
	fresh := file + ".new"
	if err := errors.Join(os.WriteFile(fresh, d.config, filePerm)); err != nil {
		return false, fmt.Errorf("write containerd configuration: %w", err)
	}
	if err := os.Rename(fresh, file); err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Base(file), err)
	}
	return true, nil
}

// What is in these directories is for root: images' content with whatever secrets it has, and sockets that are as good as root.
const (
	dirPerm  = 0o711
	filePerm = 0o600
)
