package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"golang.org/x/sys/unix"
)

// peerURL names the only member to itself. Nothing listens there and nothing connects to it: a cluster of one has no
// one to talk to, and clients are in this process.
const peerURL = "http://127.0.0.1:2380"

func openEmbedded(ctx context.Context, cfg *Config) (*backend, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	etcd, err := embed.StartEtcd(etcdConfig(cfg))
	if err != nil {
		unlock()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	stop := func() error {
		etcd.Close()
		return unlock()
	}
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-etcd.Server.ReadyNotify():
	case <-etcd.Server.StopNotify():
		err = errors.New("start etcd: it stopped")
	case <-timer.C:
		err = fmt.Errorf("start etcd: it was not ready within %s", startTimeout)
	case <-ctx.Done():
		err = fmt.Errorf("start etcd: %w", ctx.Err())
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	client := v3client.New(etcd.Server)
	closeAll := func() error {
		// The client only tells that its context is now canceled.
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			return errors.Join(err, stop())
		}
		return stop()
	}
	return &backend{
		client: client,
		server: etcd.Server,
		readIndex: func(ctx context.Context) (int64, error) {
			if err := etcd.Server.LinearizableReadNotify(ctx); err != nil {
				return 0, err
			}
			return etcd.Server.KV().Rev(), nil
		},
		// The directory is locked: no other etcd can take its place.
		identify:     func(context.Context) (string, error) { return "", nil },
		accept:       func(string) {},
		watchContext: func(ctx context.Context) context.Context { return ctx },
		stopped:      etcd.Server.StopNotify(),
		close:        closeAll,
	}, nil
}

func etcdConfig(cfg *Config) *embed.Config {
	c := embed.NewConfig()
	c.Name = "petrel"
	c.Dir = filepath.Join(cfg.Dir, "etcd")
	self, err := url.Parse(peerURL)
	if err != nil {
		panic(err) // a constant
	}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{*self}
	c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil
	c.EnableGRPCGateway = false
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMillis, electionMillis
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotCount, snapshotCatchUpEntries
	c.QuotaBackendBytes, c.MaxRequestBytes = cfg.QuotaBytes, maxRequestBytes
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "0" // compact.go does it
	c.LogLevel = "error"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger))
	return c
}

// lockDir keeps a second process out. etcd has a lock of its own, but waits for it, silently and for ever.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock state directory %s: another process uses it: %w", dir, err)
	}
	return f.Close, nil
}
