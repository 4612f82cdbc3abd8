package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
	"github.com/petrelrun/petrel/controlplane/controller"
	"github.com/petrelrun/petrel/controlplane/registry"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"petrel": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		streams := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
		os.Exit(Run(ctx, NewRoot("v0-test", streams), os.Args[1:], os.Stderr))
	}})
}

// TestScripts runs testdata's scenarios, each against a control plane of its own: the real deploy API, App controller
// and module registry over a cluster in memory.
func TestScripts(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: commands, Setup: func(env *testscript.Env) error {
		for name, content := range map[string][]byte{
			"hello.wasm": apptest.Reactor("one"), "Hello_2.wasm": apptest.Reactor("two"),
			"task.wasm": apptest.Command(), "broken.wasm": apptest.Importing(), "text.wasm": []byte("not wasm\n"),
		} {
			if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
				return err
			}
		}
		url, err := serve(env)
		if err != nil {
			return err
		}
		env.Setenv(EnvServer, url)
		env.Setenv("HOST", url[len("http://"):])
		return nil
	}})
}

// serve starts the control plane of one scenario.
func serve(env *testscript.Env) (string, error) {
	store := apptest.NewStore("default", "other")
	informers := apptest.NewInformers(store)
	modules, err := registry.New(registry.Config{Dir: filepath.Join(env.WorkDir, ".registry")})
	if err != nil {
		return "", err
	}
	pods := &fakePods{}
	deploys, err := apps.New(apps.Config{
		Client: store, Informers: informers, Modules: modules, Logs: pods, URL: apps.URLs("127.0.0.1:8081"), SpoolDir: env.WorkDir,
	})
	if err != nil {
		return "", err
	}
	reconciler, err := controller.NewApps(controller.AppConfig{
		Config:  controller.Config{Client: store, Informers: informers, Recorder: &record.FakeRecorder{}},
		Resolve: deploys.Resolve, URL: apps.URLs("127.0.0.1:8081"),
	})
	if err != nil {
		return "", err
	}
	node := &apptest.Node{Store: store, ColdStart: 4200, Compile: 150_000}
	node.SetOf(pods.behaviour)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { informers.Run(ctx) })
	group.Go(func() { node.Run(ctx) })
	failed := make(chan error, 1)
	group.Go(func() { failed <- reconciler.Run(ctx) })

	mux := http.NewServeMux()
	mux.Handle("/v1/", deploys)
	mux.Handle("/v2/", modules)
	mux.Handle("/api/", pods)
	mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"gitVersion": "v1.37.2+petrel"}`))
	})
	server := httptest.NewServer(mux)
	env.Defer(func() {
		server.CloseClientConnections()
		server.Close()
		cancel()
		group.Wait()
		if err := <-failed; err != nil {
			env.T().Fatal("app controller: ", err)
		}
		if err := modules.Close(); err != nil {
			env.T().Fatal("close registry: ", err)
		}
	})
	return server.URL, nil
}
