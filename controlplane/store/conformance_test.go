package store_test

import (
	"testing"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

func TestEmbedded(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB, o storetest.Options) *storetest.Subject {
		return subject(t, store.Config{Dir: t.TempDir(), Resources: o.Resources, LogEvents: o.LogEvents})
	})
}

func TestExternal(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB, o storetest.Options) *storetest.Subject {
		etcd := startEtcd(t)
		return subject(t, store.Config{Endpoints: []string{etcd.addr}, Resources: o.Resources, LogEvents: o.LogEvents})
	})
}
