package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/procmem"
	"github.com/petrelrun/petrel/wasmrt/supervisor"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

// defaultPodCIDR are addresses that every Linux host has: pods can listen there without privileges or set-up.
const defaultPodCIDR = "127.42.0.0/16"

// self is this very binary, also after another was installed in its place.
const self = "/proc/self/exe"

// firstInherited is the first descriptor behind the standard streams.
const firstInherited = 3

type serveFlags struct {
	root, socket, podCIDR, steer, logLevel string
	mirrors                                []string
	registryConfig                         string
	mirrorTLS                              image.MirrorTLS
	stopRunners                            bool
	trustAnnotations                       bool
	metrics                                string
	confine                                confineFlags
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --root DIR --socket PATH",
		Short: "Serve the CRI and supervise the runners",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.root, "root", "", "directory of images, compiled code and records")
	flags.StringVar(&f.socket, "socket", "", "unix socket to serve the CRI on")
	flags.StringArrayVar(&f.mirrors, "registry-mirror", nil, "host=http://address or host=https://address: ask the address for images of the host (may be repeated)")
	flags.StringVar(&f.registryConfig, "registry-config", "", "directory of registries' settings: HOST/hosts.toml, as containerd's certs.d; read for every pull (default: none)")
	flags.StringVar(&f.mirrorTLS.CA, "registry-ca", "", "file of certificates that vouch for mirrors with an https address; read for every connection (default: the system's)")
	flags.StringVar(&f.mirrorTLS.Credential, "registry-credential", "", "file with a client certificate and its key for mirrors with an https address; read for every connection (default: none)")
	flags.StringVar(&f.podCIDR, "pod-cidr", defaultPodCIDR, "addresses of sandboxes that bring none, until the client sets others")
	flags.StringVar(&f.steer, "steer-socket", "", "unix socket of who steers connections for pods' addresses to one socket of each runner (default: pods listen for themselves)")
	flags.BoolVar(&f.stopRunners, "stop-runners-on-exit", false, "end all pods with the supervisor instead of leaving them running")
	flags.BoolVar(&f.trustAnnotations, "trust-annotations", false, "take the annotations that name files of this host; not for kubelets, which hand on those of whoever made a pod")
	flags.StringVar(&f.metrics, "metrics-listen", "", "serve Prometheus metrics at HOST:PORT or unix:PATH (default: nowhere)")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	f.confine.register(flags)
	for _, name := range []string{"root", "socket"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is right above
		}
	}
	return cmd
}

func serve(cmd *cobra.Command, f *serveFlags) error {
	log, err := newLogger(cmd, f.logLevel)
	if err != nil {
		return err
	}
	mirrors := image.Mirrors{}
	for _, m := range f.mirrors {
		if err := mirrors.Add(m); err != nil {
			return &usageError{err}
		}
	}
	cidr, err := netip.ParsePrefix(f.podCIDR)
	if err != nil {
		return &usageError{fmt.Errorf("pod CIDR: %w", err)}
	}
	root, err := filepath.Abs(f.root)
	if err != nil {
		return fmt.Errorf("find root: %w", err)
	}
	socket, err := filepath.Abs(f.socket)
	if err != nil {
		return fmt.Errorf("find socket: %w", err)
	}
	// What whoever started us forgot to close must not live on in runners, which outlive us.
	if err := unix.CloseRange(firstInherited, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		log.Warn("inherited descriptors are handed on", "error", err)
	}
	cache := filepath.Join(root, "cache")
	runnersPaths := f.confine.allowPaths
	if len(runnersPaths) > 0 { // then also where the supervisor binds what lies there and cannot be reached
		runnersPaths = append(runnersPaths[:len(runnersPaths):len(runnersPaths)], supervisor.BindDir(root))
	}
	cfg := supervisor.Config{
		Root: root, Socket: socket, PodCIDR: cidr, SteerSocket: f.steer, Mirrors: mirrors, MirrorTLS: &f.mirrorTLS, RegistryDir: f.registryConfig, Version: version, StopRunnersOnExit: f.stopRunners,
		TrustAnnotations: f.trustAnnotations,
		RunnerCommand: func(namespace string) *exec.Cmd {
			args := []string{"runner", "--namespace", namespace, "--cache-dir", cache, "--modules-dir", image.BlobDir(root), "--log-level", f.logLevel}
			for _, dir := range runnersPaths {
				args = append(args, "--allow-path", dir)
			}
			return child(exec.Command(self), args...)
		},
		Compiler: supervisor.NewProcessCompiler(func(ctx context.Context, module, digest string) *exec.Cmd {
			args := []string{"compile", "--cache-dir", cache, "--digest", digest}
			if module == "" {
				args = append(args, "--evict")
			} else {
				args = append(args, "--module", module)
			}
			return child(exec.CommandContext(ctx, self), args...)
		}),
		CacheDir: cache, Logger: log, Now: time.Now,
	}
	if err := f.confine.apply(&cfg); err != nil {
		return err
	}
	s, err := supervisor.New(cfg)
	if err != nil {
		return err
	}
	metrics, err := listenMetrics(f.metrics, s.Metrics(), log)
	if err != nil {
		return err
	}
	defer metrics.close()
	defer procmem.Begin(cmd.Context(), log)()
	return s.Run(cmd.Context())
}

// inherited are the variables that tune the Go runtime; nothing else of our environment is a runner's business.
var inherited = []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK"}

func child(cmd *exec.Cmd, args ...string) *exec.Cmd {
	cmd.Args = append([]string{"petrel-wasmrt"}, args...)
	cmd.Env = []string{} // nil would mean ours
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}
