package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// lookInterval is how often the registration directory is looked through: drivers come with a node, not with a pod.
	lookInterval = time.Second
	// registerTimeout bounds getting to know one driver.
	registerTimeout = 10 * time.Second
	// registerRetry is the pause before one that could not be registered is tried again.
	registerRetry = 10 * time.Second
	// maxSockets bounds the drivers of a node.
	maxSockets = 64
	dirMode    = 0o750
)

// pluginVersion is the version of the interface that is spoken.
const pluginVersion = "1.0.0"

// Run follows drivers that come and go until ctx ends.
func (d *Drivers) Run(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.RegistryDir, dirMode); err != nil {
		return fmt.Errorf("make registration directory: %w", err)
	}
	defer d.closeAll()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	retry := map[string]time.Time{}
	for {
		d.look(ctx, retry)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look compares the sockets that are there with the drivers that are known.
func (d *Drivers) look(ctx context.Context, retry map[string]time.Time) {
	there := d.find()
	for path := range d.known() {
		if !slices.Contains(there, path) {
			d.leave(ctx, path)
		}
	}
	for _, path := range there {
		if _, known := d.known()[path]; known || time.Now().Before(retry[path]) {
			continue
		}
		delete(retry, path)
		if err := d.register(ctx, path); err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("csi driver was not registered", "socket", path, "error", err)
			retry[path] = time.Now().Add(registerRetry)
		}
	}
}

// find lists the registration sockets.
func (d *Drivers) find() []string {
	var out []string
	err := filepath.WalkDir(d.cfg.RegistryDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone while it was looked at
		}
		if e.Type() == fs.ModeSocket && len(out) < maxSockets {
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		d.cfg.Logger.Warn("registration directory was not read", "error", err)
	}
	return out
}

func (d *Drivers) known() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]string, len(d.sockets))
	for path, r := range d.sockets {
		out[path] = r.name
	}
	return out
}

// register gets to know the driver behind a socket and tells it how that went.
func (d *Drivers) register(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	conn, err := dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := registration.NewRegistrationClient(conn)
	info, err := client.GetInfo(ctx, &registration.InfoRequest{})
	if err != nil {
		return fmt.Errorf("ask who it is: %w", err)
	}
	err = d.admit(ctx, socket, info)
	told := &registration.RegistrationStatus{PluginRegistered: err == nil}
	if err != nil {
		told.Error = err.Error()
	}
	_, tellErr := client.NotifyRegistrationStatus(ctx, told)
	if err == nil {
		d.cfg.Logger.Info("csi driver registered", "driver", info.GetName(), "endpoint", info.GetEndpoint())
	}
	return errors.Join(err, tellErr)
}

// admit takes in a driver and tells the API what it can do here.
func (d *Drivers) admit(ctx context.Context, socket string, info *registration.PluginInfo) error {
	switch {
	case info.GetType() != registration.CSIPlugin:
		return fmt.Errorf("plugins of type %q are not served", info.GetType())
	case info.GetName() == "" || filepath.Base(info.GetName()) != info.GetName() || !filepath.IsLocal(info.GetName()):
		return fmt.Errorf("driver name %q: want one that can name a directory", info.GetName())
	case !slices.Contains(info.GetSupportedVersions(), pluginVersion):
		return fmt.Errorf("it speaks versions %v of the interface, not %s", info.GetSupportedVersions(), pluginVersion)
	}
	endpoint := info.GetEndpoint()
	if endpoint == "" {
		endpoint = socket
	}
	if !filepath.IsAbs(endpoint) {
		return fmt.Errorf("endpoint %q: want an absolute path", endpoint)
	}
	r, err := connect(ctx, info.GetName(), endpoint)
	if err != nil {
		return err
	}
	if err := d.tellNode(ctx, r); err != nil {
		return errors.Join(err, r.conn.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.drivers[r.name]; old != nil { // another socket of the same driver: the newest counts
		for path, was := range d.sockets {
			if was == old {
				delete(d.sockets, path)
			}
		}
		_ = old.conn.Close() // nothing is lost: calls that are under way fail and are made again
	}
	d.drivers[r.name], d.sockets[socket] = r, r
	return nil
}

// leave forgets a driver whose socket has gone.
func (d *Drivers) leave(ctx context.Context, socket string) {
	d.mu.Lock()
	r := d.sockets[socket]
	delete(d.sockets, socket)
	if d.drivers[r.name] == r {
		delete(d.drivers, r.name)
	}
	d.mu.Unlock()
	_ = r.conn.Close() // its socket is gone already
	d.cfg.Logger.Info("csi driver left", "driver", r.name)
	if err := d.untellNode(ctx, r.name); err != nil && ctx.Err() == nil {
		d.cfg.Logger.Warn("the API still has a csi driver that left", "driver", r.name, "error", err)
	}
}

func (d *Drivers) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, r := range d.sockets {
		_ = r.conn.Close() // the worker ends
		delete(d.sockets, path)
		delete(d.drivers, r.name)
	}
}
