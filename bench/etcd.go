package main

import (
	"context"
	"fmt"
	"net/url"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// bareEtcd is etcd with nothing above it, in this process: what Petrel's writes are divided by.
type bareEtcd struct {
	server *embed.Etcd
	client *clientv3.Client
}

// startEtcd starts a bare etcd and waits until it is ready. It is called in process, as Petrel's own is.
func startEtcd(ctx context.Context, dir string) (*bareEtcd, error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel, config.LogOutputs = "fatal", []string{"stderr"} // as errors it logs that its listeners were closed
	anywhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}     // nobody calls there
	config.ListenClientUrls, config.AdvertiseClientUrls = anywhere, anywhere
	config.ListenPeerUrls, config.AdvertisePeerUrls = anywhere, anywhere
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("start bare etcd: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
	case <-ctx.Done():
		server.Close()
		return nil, fmt.Errorf("start bare etcd: %w", ctx.Err())
	}
	return &bareEtcd{server: server, client: v3client.New(server.Server)}, nil
}

func (e *bareEtcd) close() {
	_ = e.client.Close()
	e.server.Close()
	<-e.server.Server.StopNotify()
}

// create writes a key in a transaction that is guarded as the API's creations are: only where nothing stands.
func (e *bareEtcd) create(ctx context.Context, key string, value []byte) error {
	absent := clientv3.Compare(clientv3.ModRevision(key), "=", 0)
	res, err := e.client.Txn(ctx).If(absent).Then(clientv3.OpPut(key, string(value))).Commit()
	if err != nil {
		return err
	}
	if !res.Succeeded {
		return fmt.Errorf("create %s: it exists", key)
	}
	return nil
}
