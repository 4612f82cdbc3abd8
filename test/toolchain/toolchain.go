package toolchain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Tree is the source tree and what is built from it. Its methods may be called at once; each thing is built once.
type Tree struct {
	Root string

	mu    sync.Mutex
	built map[string]*result
}

type result struct {
	once sync.Once
	path string
	err  error
}

// Find answers the tree that holds the working directory.
func Find() (*Tree, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("find source tree: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return nil, errors.New("find source tree: the working directory is in no Go module")
	}
	return &Tree{Root: filepath.Dir(mod), built: map[string]*result{}}, nil
}

// Bin is the folder that Petrel's own binaries are in.
func (t *Tree) Bin() string { return filepath.Join(t.Root, "bin") }

// Binaries builds petrel and petrel-wasmrt as `make build` does and answers their folder.
func (t *Tree) Binaries(ctx context.Context) (string, error) {
	return t.once("binaries", func() (string, error) {
		if err := os.MkdirAll(t.Bin(), 0o755); err != nil {
			return "", fmt.Errorf("make binary folder: %w", err)
		}
		args := []string{"build", "-ldflags", "-s -w -X main.version=test", "-o", t.Bin() + "/", "./cmd/..."}
		return t.Bin(), t.goCommand(ctx, nil, args...)
	})
}

// Kubectl builds the real kubectl at the version of go.mod.
func (t *Tree) Kubectl(ctx context.Context) (string, error) {
	// kubectl refuses to tell its version when no release process has set it.
	version, err := t.module(ctx, "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	return t.tool(ctx, "kubectl", "k8s.io/kubernetes/cmd/kubectl", "-X k8s.io/component-base/version.gitVersion="+version)
}

// Crane builds the real crane at the version of go.mod.
func (t *Tree) Crane(ctx context.Context) (string, error) {
	return t.tool(ctx, "crane", "github.com/google/go-containerregistry/cmd/crane", "")
}

func (t *Tree) tool(ctx context.Context, name, pkg, linkerFlags string) (string, error) {
	return t.once(name, func() (string, error) {
		path := filepath.Join(t.Bin(), "tools", name)
		return path, t.goCommand(ctx, nil, "build", "-ldflags", "-s -w "+linkerFlags, "-o", path, pkg)
	})
}

// Program builds a Go package of the tree for this machine, e.g. "./bench/baseline".
func (t *Tree) Program(ctx context.Context, pkg string) (string, error) {
	return t.once(pkg, func() (string, error) {
		path := filepath.Join(t.Bin(), "tools", filepath.Base(pkg))
		return path, t.goCommand(ctx, nil, "build", "-ldflags", "-s -w", "-o", path, pkg)
	})
}

// Guest builds one of test/guests: a reactor (an HTTP guest, -buildmode=c-shared) or a command, in Go or C.
func (t *Tree) Guest(ctx context.Context, name string, reactor bool) (string, error) {
	return t.once("guest "+name, func() (string, error) {
		path := filepath.Join(t.Bin(), "guests", name+".wasm")
		source := filepath.Join(t.Root, "test", "guests", name, name+".c")
		if _, err := os.Stat(source); err == nil {
			return path, t.buildC(ctx, source, path, reactor)
		}
		args := []string{"build", "-trimpath", "-ldflags", "-w"} // names stay, by which traps are told
		if reactor {
			args = append(args, "-buildmode=c-shared")
		}
		args = append(args, "-o", path, "./test/guests/"+name)
		return path, t.goCommand(ctx, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, args...)
	})
}

// Example answers the module of one of the examples, which their own Makefile builds.
func (t *Tree) Example(ctx context.Context, name string) (string, error) {
	dir, err := t.once("examples", func() (string, error) {
		cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", filepath.Join(t.Root, "examples"))
		return filepath.Join(t.Root, "examples", "bin"), quiet(cmd)
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".wasm")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find example %s: %w", name, err)
	}
	return path, nil
}

// ModuleDir answers where a dependency's source lies on this machine.
func (t *Tree) ModuleDir(ctx context.Context, module string) (string, error) {
	return t.module(ctx, "{{.Dir}}", module)
}

// module answers what the go command knows of a dependency.
func (t *Tree) module(ctx context.Context, format, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", format, module)
	cmd.Dir = t.Root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (t *Tree) once(key string, build func() (string, error)) (string, error) {
	t.mu.Lock()
	r := t.built[key]
	if r == nil {
		r = &result{}
		t.built[key] = r
	}
	t.mu.Unlock()
	r.once.Do(func() { r.path, r.err = build() })
	return r.path, r.err
}

// buildC builds a C guest, for WASI or, where the source includes nothing, for the bare machine.
func (t *Tree) buildC(ctx context.Context, source, path string, reactor bool) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("build C guest: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("build C guest: %w", err)
	}
	args := []string{"--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-o", path, source}
	switch {
	case !strings.Contains(string(text), "#include"):
		args = append(args, "--target=wasm32", "-nostdlib", "-Wl,--no-entry")
	case reactor:
		args = append(args, "-mexec-model=reactor")
	}
	return quiet(exec.CommandContext(ctx, "clang", args...))
}

func (t *Tree) goCommand(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.Root
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, env...)
	return quiet(cmd)
}

// quiet runs cmd and tells what it printed only when it failed.
func quiet(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
