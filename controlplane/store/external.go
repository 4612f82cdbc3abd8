package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// external is an etcd that others run.
type external struct {
	client   *clientv3.Client
	quorum   quorum
	identity atomic.Pointer[string] // of the etcd that the cache is filled from; nil: not known yet
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
	x := &external{client: client}
	x.quorum.ask = x.ask
	if err := x.check(ctx, cfg.Endpoints); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return &backend{
		client:       client,
		readIndex:    x.quorum.read,
		identify:     func(ctx context.Context) (string, error) { return claimIdentity(ctx, client) },
		accept:       func(identity string) { x.identity.Store(&identity) },
		watchContext: clientv3.WithRequireLeader,
		close:        x.close,
	}, nil
}

func (x *external) close() error {
	err := x.client.Close() // which ends the questions under way
	x.quorum.running.Wait()
	return err
}

// ask reads one key, which goes through the quorum like any read, and so answers the revision.
func (x *external) ask(ctx context.Context) (int64, error) {
	resp, err := x.client.Get(ctx, identityKey)
	if err != nil {
		return 0, err
	}
	if known := x.identity.Load(); known != nil && (len(resp.Kvs) == 0 || string(resp.Kvs[0].Value) != *known) {
		return 0, errReplaced
	}
	return resp.Header.Revision, nil
}

// check makes sure that etcd answers, and that its answers can be relied on.
func (x *external) check(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := x.ask(ctx); err != nil {
		return fmt.Errorf("reach etcd at %v: %w", endpoints, err)
	}
	for _, endpoint := range endpoints {
		status, err := x.client.Status(ctx, endpoint)
		if err != nil {
			continue // one member may be down; those that are up are asked
		}
		if err := checkVersion(status.Version); err != nil {
			return fmt.Errorf("use etcd at %s: %w", endpoint, err)
		}
	}
	return nil
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
