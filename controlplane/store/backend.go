package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// backend is an etcd, here or elsewhere.
type backend struct {
	client *clientv3.Client
	// readIndex answers etcd's revision, no older than any write that was acknowledged before the call, or errReplaced.
	readIndex func(context.Context) (int64, error)
	// identify answers what tells this etcd from any other, and accept makes readIndex insist on it.
	identify func(context.Context) (string, error)
	accept   func(identity string)
	// watchContext prepares the context of a watch.
	watchContext func(context.Context) context.Context
	// server is the etcd of this process; nil for an external one.
	server *etcdserver.EtcdServer
	// stopped is closed when the etcd of this process ended by itself; nil for an external one.
	stopped <-chan struct{}
	close   func() error
}
