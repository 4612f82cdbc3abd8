package critest_test

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/cri/critest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFake(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	fake := crifake.New()
	fake.AddImage("task", crifake.Task)
	fake.AddImage("server", crifake.Server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	if err := fake.Serve(socket); err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	at := target(t, socket, "task", "server")
	at.Known = map[string]string{
		"Network/PortForward": "the fake has no streams",
		"Stats/OfContainer":   "the fake's containers take nothing",
		"Image/Disk":          "the fake keeps nothing on disk",
	}
	critest.Run(t, at)
}

// TestEndpoint runs the suite on the runtime that the environment names.
func TestEndpoint(t *testing.T) {
	endpoint := os.Getenv("PETREL_CRI_ENDPOINT")
	if endpoint == "" {
		t.Skip("PETREL_CRI_ENDPOINT names no runtime")
	}
	critest.Run(t, target(t, endpoint, os.Getenv("PETREL_CRI_TASK_IMAGE"), os.Getenv("PETREL_CRI_SERVER_IMAGE")))
}

func target(t *testing.T, endpoint, task, server string) critest.Target {
	t.Helper()
	client, err := cri.New(cri.Config{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return critest.Target{Client: client, Endpoint: endpoint, TaskImage: task, ServerImage: server, PodIPs: netip.MustParsePrefix("127.46.0.0/16")}
}
