package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// backend is an etcd, here or elsewhere.
type backend struct {
	client *clientv3.Client
	// readIndex answers etcd's revision, no older than any write that was acknowledged before the call.
	readIndex func(context.Context) (int64, error)
	// watchContext prepares the context of a watch.
	watchContext func(context.Context) context.Context
	// server is the etcd of this process; nil for an external one.
	server *etcdserver.EtcdServer
	// stopped is closed when the etcd of this process ended by itself; nil for an external one.
	stopped <-chan struct{}
	close   func() error
}

func openExternal(ctx context.Context, cfg *Config) (*backend, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		// gRPC would wait up to two minutes between attempts; an API without its etcd cannot.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: followBackoffMin, Multiplier: 2, Jitter: 0.2, MaxDelay: followBackoffMax},
			MinConnectTimeout: dialTimeout,
		})},
		Logger: zapLogger(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	q := &quorum{ask: func(ctx context.Context) (int64, error) {
		// A read of one key that never exists goes through the quorum like any other and answers the revision.
		resp, err := client.Get(ctx, registryPrefix, clientv3.WithKeysOnly())
		if err != nil {
			return 0, err
		}
		return resp.Header.Revision, nil
	}}
	b := &backend{client: client, readIndex: q.read, watchContext: clientv3.WithRequireLeader}
	b.close = func() error {
		err := client.Close() // which ends the questions under way
		q.running.Wait()
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := b.readIndex(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach etcd at %v: %w", cfg.Endpoints, err), b.close())
	}
	for _, endpoint := range cfg.Endpoints {
		status, err := client.Status(ctx, endpoint)
		if err != nil {
			continue // one member may be down; those that are up are asked
		}
		if err := checkVersion(status.Version); err != nil {
			return nil, errors.Join(fmt.Errorf("use etcd at %s: %w", endpoint, err), b.close())
		}
	}
	return b, nil
}

// checkVersion refuses an etcd whose answers cannot be relied on: before 3.4.25 and 3.5.8 a watch could tell its
// progress ahead of events that were still to come, which here would be a silent gap.
func checkVersion(version string) error {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return fmt.Errorf("read its version %q: %w", version, err)
	}
	oldest := map[int]int{4: 25, 5: 8} // of 3.x: the first good patch
	if first, known := oldest[minor]; major < 3 || major == 3 && (minor < 4 || known && patch < first) {
		return fmt.Errorf("its version %s is too old: 3.4.25, 3.5.8 or newer is needed", version)
	}
	return nil
}
