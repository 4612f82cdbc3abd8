package main

import (
	"testing"
)

// TestBareEtcd holds the peer of the API's rows to what they say of it: its transactions are guarded.
func TestBareEtcd(t *testing.T) {
	e, err := startEtcd(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if err := e.create(t.Context(), "/a", []byte("1")); err != nil {
		t.Error(err)
	}
	if err := e.create(t.Context(), "/a", []byte("2")); err == nil {
		t.Error("a key was created twice")
	}
	res, err := e.client.Get(t.Context(), "/a")
	if err != nil || len(res.Kvs) != 1 || string(res.Kvs[0].Value) != "1" {
		t.Errorf("the key is %v, %v", res, err)
	}
	b := &apiBench{ctx: t.Context(), etcd: e}
	for range 2 { // the names of the rounds must not meet
		if rate, err := b.transact(); err != nil || rate <= 0 {
			t.Errorf("transactions: %v per s, %v", rate, err)
		}
	}
}
