package petrel

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/petrelrun/petrel/"

// owners are modules that one room alone may import, so that what is unstable or heavy in them has one place.
var owners = map[string][]string{
	"k8s.io/kubernetes":             {"controlplane/upstream"},
	"go.etcd.io/etcd":               {"controlplane/store"},
	"github.com/labstack/echo":      {"controlplane/apiserver"},
	"github.com/vishvananda":        {"worker/network", "lab"},
	"github.com/google/nftables":    {"worker/network"},
	"github.com/cilium/ebpf":        {"ebpfproxy", "ebpfproxy/bpf"},
	"github.com/miekg/dns":          {"worker/dns"},
	"github.com/olareg":             {"controlplane/registry"},
	"github.com/spf13/cobra":        {"cmd/petrel", "cmd/petrel-wasmrt"},
	"github.com/tetratelabs/wazero": {"wasmrt/engine", "wasmrt/httpabi"},
}

// rooms says which other rooms each room may import. A folder below a room belongs to it.
var rooms = map[string][]string{
	"cmd/petrel": {"controlplane/api", "controlplane/apiserver", "controlplane/apps", "controlplane/auth",
		"controlplane/controller", "controlplane/join", "controlplane/pki", "controlplane/registry", "controlplane/resource", "controlplane/scheduler",
		"controlplane/store", "controlplane/upstream", "lab", "wasmrt/module", "worker", "worker/containerd", "worker/cri", "worker/dns", "worker/flows", "worker/network", "worker/service", "worker/service/kernel", "ebpfproxy", "procmem"},
	"cmd/petrel-wasmrt": {"wasmrt/runner", "wasmrt/shim", "wasmrt/supervisor", "wasmrt/engine", "wasmrt/httpabi", "wasmrt/module",
		"wasmrt/wasi", "procmem"},

	"controlplane/api":        {},
	"controlplane/store":      {},
	"controlplane/upstream":   {},
	"controlplane/auth":       {},
	"controlplane/pki":        {},
	"controlplane/join":       {"controlplane/api", "controlplane/auth", "controlplane/pki", "controlplane/resource"},
	"controlplane/registry":   {},
	"controlplane/resource":   {"controlplane/api", "controlplane/store", "controlplane/upstream", "podrules"},
	"controlplane/apiserver":  {"controlplane/api", "controlplane/auth", "controlplane/resource", "controlplane/store", "controlplane/upstream"},
	"controlplane/apps":       {"controlplane/api", "wasmrt/egress", "wasmrt/module"},
	"controlplane/scheduler":  {"controlplane/api"},
	"controlplane/controller": {"controlplane/api"},

	// What Wasm modules cannot have is said in one place, to the clients of the API and by nodes.
	"podrules": {},

	"worker":            {"ebpfproxy", "podrules", "steering", "worker/cri", "worker/dns", "worker/flows", "worker/network", "worker/policy", "worker/runtimes", "worker/service", "worker/service/kernel"},
	"worker/containerd": {"worker/cri"},
	"worker/runtimes":   {"worker/cri"},
	"worker/cri":        {},
	"worker/dns":        {"worker/service"},
	"worker/flows":      {"ebpfproxy"},
	"worker/network":    {},
	"worker/policy":     {"ebpfproxy", "worker/service"},
	"worker/service":    {"http1"},
	// The table is pure and has several data paths; what puts it into the kernel is a room of its own beside it.
	"worker/service/kernel": {"ebpfproxy", "worker/service"},

	"wasmrt/module":  {},
	"wasmrt/egress":  {},
	"wasmrt/wasi":    {"wasmrt/egress"},
	"wasmrt/engine":  {"wasmrt/egress", "wasmrt/module", "wasmrt/wasi"},
	"wasmrt/httpabi": {"wasmrt/engine", "wasmrt/httpabi/wire", "wasmrt/module", "wasmrt/wasi"},
	// The guest's SDK is built into every guest: of the host it gets the wire format and nothing more.
	"wasmrt/httpabi/wire": {},
	"wasmrt/runner":       {"http1", "wasmrt/egress", "wasmrt/engine", "wasmrt/httpabi", "wasmrt/module", "wasmrt/wasi"},
	"wasmrt/supervisor":   {"cgrouplock", "steering", "wasmrt/egress", "wasmrt/module", "wasmrt/runner"},
	"wasmrt/guest":        {"wasmrt/httpabi/wire"},
	// The shim has the runtime as containerd and the kubelet have it: by the CRI.
	"wasmrt/shim": {},

	// The lab makes machines out of namespaces and runs the built programs on them: of Petrel it knows the command lines.
	"lab": {"cgrouplock"},

	// Which control groups are somebody's: supervisors and labs leave them alike when they are killed.
	"cgrouplock": {},

	// What every long-running process does to itself.
	"procmem": {},

	// The server of the fast paths knows neither guests nor services.
	"http1": {},

	// How listening sockets get to what steers: spoken by the supervisor and the worker, who know nothing of each other.
	"steering": {},

	"ebpfproxy":     {"ebpfproxy/bpf"},
	"ebpfproxy/bpf": {},
}

// kubernetesFree rooms import nothing of Kubernetes beyond the CRI's types, so that a runner stays small and wasmrt
// and ebpfproxy can be used alone.
var kubernetesFree = []string{"wasmrt", "ebpfproxy", "cmd/petrel-wasmrt"}

// TestImports holds every file to the tables above. Tests may reach into other rooms to build what they test with,
// but never past an owner into its module.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	walkGo(t, func(path string) {
		room := roomOf(filepath.Dir(path))
		if room == "" {
			return // test, bench, examples and the root are no rooms
		}
		seen[room] = true
		for _, imported := range importsOf(t, path) {
			if inner, ok := strings.CutPrefix(imported, module); ok {
				other := roomOf(inner)
				if other != room && !slices.Contains(rooms[room], other) && !strings.HasSuffix(path, "_test.go") {
					t.Errorf("%s imports %s: room %s may import %v", path, imported, room, rooms[room])
				}
				continue
			}
			checkForeign(t, path, room, imported)
		}
	})
	for room := range rooms {
		if !seen[room] {
			t.Errorf("room %s is in the table but has no Go file: build it or strike it out", room)
		}
	}
}

func checkForeign(t *testing.T, path, room, imported string) {
	t.Helper()
	for owned, by := range owners {
		if within(imported, owned) && !slices.Contains(by, room) {
			t.Errorf("%s imports %s, which only %v may", path, imported, by)
		}
	}
	if strings.HasSuffix(path, "_test.go") {
		return
	}
	for _, free := range kubernetesFree {
		if within(room, free) && strings.HasPrefix(imported, "k8s.io/") && !strings.HasPrefix(imported, "k8s.io/cri-") {
			t.Errorf("%s imports %s: %s knows nothing of Kubernetes beyond the CRI", path, imported, free)
		}
	}
}

// TestEveryPackageHasADoc asks each package for the doc.go that says what it is.
func TestEveryPackageHasADoc(t *testing.T) {
	dirs := map[string]bool{}
	walkGo(t, func(path string) {
		dir := filepath.Dir(path)
		if roomOf(dir) != "" && !strings.HasSuffix(path, "_test.go") {
			dirs[dir] = dirs[dir] || filepath.Base(path) == "doc.go"
		}
	})
	for dir, has := range dirs {
		if !has {
			t.Errorf("%s has no doc.go", dir)
		}
	}
}

func within(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// roomOf answers the longest room that dir is in, or "".
func roomOf(dir string) string {
	best := ""
	for room := range rooms {
		if within(filepath.ToSlash(dir), room) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

func walkGo(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func importsOf(t *testing.T, path string) []string {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, spec := range file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, name)
	}
	return out
}
