package store

import (
	"context"
	"crypto/rand"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// identityKey holds a text that no other etcd has. etcd's own cluster id does not tell two apart: it is computed from
// the members' names and addresses, so one that lost its data and was set up anew has the same.
const identityKey = "/petrel/store/identity"

// errReplaced tells that another etcd answers than the one that the cache was filled from.
var errReplaced = errors.New("etcd is not the one it was")

// claimIdentity answers the etcd's identity, and gives it one when it has none.
func claimIdentity(ctx context.Context, client *clientv3.Client) (string, error) {
	mine := rand.Text()
	resp, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(identityKey), "=", 0)).
		Then(clientv3.OpPut(identityKey, mine)).
		Else(clientv3.OpGet(identityKey)).Commit()
	if err != nil {
		return "", err
	}
	if resp.Succeeded {
		return mine, nil
	}
	return string(resp.Responses[0].GetResponseRange().Kvs[0].Value), nil
}
