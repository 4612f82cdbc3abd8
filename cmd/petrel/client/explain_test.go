package client

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

func TestExplainModule(t *testing.T) {
	server := moduletest.Build(moduletest.CommandWith(nil, "sock_accept", "fd_write"))
	for name, tt := range map[string]struct {
		wasm     []byte
		mode     string
		abi      string
		snapshot string
		says     []string
	}{
		"reactor": {apptest.Reactor("one"), "", "petrel-http-v1", "", []string{"petrel_http_v1_handle", "snapshot   yes", "processor time"}},
		"WAGI":    {apptest.Command(), "", "wagi", "command", []string{"no sock_accept", "(command)", "WAGI program"}},
		"server":  {server, "", "sockets", "command", []string{"imports sock_accept", "keeps its state", "✓ wasi_snapshot_preview1: sock_accept, fd_write"}},
		"forced":  {server, "wagi", "wagi", "command", []string{`petrel.run/http is "wagi"`}},
		"command": {apptest.Command(), "command", "command", "command", []string{"runs once", "depth of calls"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, refused := explainModule(tt.wasm, tt.mode)
			if refused != nil {
				t.Fatal(refused)
			}
			if e.ABI != tt.abi || e.Snapshot.Reason != tt.snapshot || e.Snapshot.Possible != (tt.snapshot == "") || len(e.Limits) == 0 {
				t.Errorf("explanation %+v", e)
			}
			for _, s := range tt.says {
				if !strings.Contains(e.Text(), s) {
					t.Errorf("the text does not say %q:\n%s", s, e.Text())
				}
			}
		})
	}
}

func TestExplainRefused(t *testing.T) {
	e, refused := explainModule(apptest.Importing(), "")
	if refused == nil || refused.Code != module.CodeUnresolvedImport {
		t.Fatalf("refused as %v", refused)
	}
	if text := e.Text(); !strings.Contains(text, "✗ env: frobnicate") || !strings.Contains(text, "frobnicate is refused: ") {
		t.Errorf("text:\n%s", text)
	}
	if e.ABI != "" || strings.Contains(e.Text(), "served as") {
		t.Errorf("it is told how a refused module is served: %+v", e)
	}
	if e, refused := explainModule([]byte("not wasm"), ""); e != nil || refused == nil || refused.Fix == "" {
		t.Errorf("what is no module: %+v, %v", e, refused)
	}
	if _, refused := explainModule(apptest.Command(), "reactor"); refused == nil || refused.Code != module.CodeHTTPMode {
		t.Errorf("an impossible way: %v", refused)
	}
}

// size writes whole binary units.
func size(n int64) string {
	if n%(1<<30) == 0 {
		return fmt.Sprint(n>>30, " GiB")
	}
	return fmt.Sprint(n>>20, " MiB")
}

// TestExplainedLimits holds the table against the runtime, which this package does not import.
func TestExplainedLimits(t *testing.T) {
	for name, want := range map[string]string{
		"memory of an instance":       size(engine.DefaultMemoryLimit),
		"processor time of a request": httpabi.DefaultCPUTime.String(),
		"time of a request":           httpabi.DefaultWallTime.String(),
		"requests at once":            fmt.Sprint(httpabi.DefaultConcurrency),
		"requests waiting":            fmt.Sprint(httpabi.DefaultQueue) + " for up to " + httpabi.DefaultQueueTime.String(),
		"request body":                size(httpabi.DefaultMaxRequestBody),
		"response body":               size(httpabi.DefaultMaxResponseBody),
		"depth of calls":              fmt.Sprint(engine.DefaultCallDepth),
		"open files":                  fmt.Sprint(wasi.DefaultMaxFiles),
	} {
		i := slices.IndexFunc(limitsOf(module.ABIReactor), func(l limit) bool { return l.Name == name })
		if i < 0 || limitsOf(module.ABIReactor)[i].Default != want {
			t.Errorf("%s: the runtime has %s, told is %+v", name, want, limitsOf(module.ABIReactor))
		}
	}
	deploy := newDeployCommand(Streams{})
	for _, l := range limits {
		for flag := range strings.SplitSeq(l.Set, ", ") {
			if deploy.Flags().Lookup(strings.TrimPrefix(flag, "--")) == nil {
				t.Errorf("%s is said to be set by %s, which petrel deploy does not have", l.Name, flag)
			}
		}
	}
}

// TestExplainedApp: before the runtime has told, the module's kind and imports do.
func TestExplainedApp(t *testing.T) {
	for name, tt := range map[string]struct {
		app  apps.App
		kind string
		imp  []string
		want string
	}{
		"told":      {apps.App{ColdStart: &apps.ColdStart{ABI: "wagi"}}, "command", []string{"wasi_snapshot_preview1.sock_accept"}, "wagi"},
		"server":    {apps.App{}, "command", []string{"wasi_snapshot_preview1.fd_write", "wasi_snapshot_preview1.sock_accept"}, "sockets"},
		"WAGI":      {apps.App{}, "command", []string{"wasi_snapshot_preview1.fd_write"}, "wagi"},
		"http-wasm": {apps.App{}, "reactor", []string{"http_handler.set_uri"}, "http-wasm"},
		"reactor":   {apps.App{}, "reactor", []string{"petrel_http_v1.request_head"}, "petrel-http-v1"},
		"unknown":   {apps.App{}, "", nil, ""},
	} {
		e := &appExplanation{App: tt.app, Active: &apps.Version{Kind: tt.kind, Imports: tt.imp}}
		if got := e.abi(); string(got) != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if text := e.Text(); tt.want != "" && !strings.Contains(text, "served as  "+tt.want+": ") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
