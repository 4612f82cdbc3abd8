package image

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// host is one place where images of a registry may be had. Its zero abilities are none.
type host struct {
	// base is scheme and host, and the path below which repositories are, /v2 where nothing else is said.
	base *url.URL
	// resolve says that it may tell what a tag names, pull that blobs may be had from it.
	resolve, pull bool
	// upstream is the registry itself; a mirror is told in each request whose images it is asked for.
	upstream bool
	// plain marks a registry on this machine that is asked over plain HTTP, when it turned out not to speak TLS.
	plain bool
	// own marks a mirror of Mirrors, which is asked with MirrorTLS.
	own bool
	// files are what TLS with it needs beyond the system's; nil: nothing.
	files *hostFiles
	// header goes with each request to it, and to nobody that it redirects to.
	header http.Header
	// dialTimeout of a connection; 0: that of all.
	dialTimeout time.Duration
}

// apiPath is where the distribution API begins.
const apiPath = "/v2"

// hub is where the registry with the name docker.io is.
const hub = "registry-1.docker.io"

// hosts answers where images of a registry are asked for, in order: its one mirror of Mirrors, or what the
// configuration directory says of it, or the registry itself.
func (p *Puller) hosts(registry name.Registry) ([]host, error) {
	if u := p.cfg.Mirrors[registry.RegistryStr()]; u != nil {
		base := *u
		base.Path = apiPath
		return []host{{base: &base, resolve: true, pull: true, upstream: true, own: true}}, nil
	}
	shown := strings.TrimSuffix(shown(registry.RegistryStr()+"/"), "/")
	if p.cfg.HostsDir != "" {
		dir, err := hostsDir(p.cfg.HostsDir, shown)
		if err != nil {
			return nil, err
		}
		if dir != "" {
			return readHosts(dir, shown)
		}
	}
	return upstream(shown), nil
}

// hostsDir is the directory with the settings of a registry, as containerd looks for it: by its name, by its name with
// the port between underscores, or that of all others. Empty: there is none.
func hostsDir(root, registry string) (string, error) {
	candidates := []string{registry, "_default"}
	if bare, port, err := net.SplitHostPort(registry); err == nil {
		candidates = []string{bare + "_" + port + "_", registry, "_default"}
	}
	for _, c := range candidates {
		dir := filepath.Join(root, c)
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%w: find registry settings: %w", ErrConfig, err)
		}
	}
	return "", nil
}

// upstream is the registry itself. Plain HTTP is for registries on this machine, and only after TLS failed: others have
// to be named in the configuration.
func upstream(registry string) []host {
	at := registry
	if registry+"/" == hubShown {
		at = hub
	}
	secure := host{base: &url.URL{Scheme: "https", Host: at, Path: apiPath}, resolve: true, pull: true, upstream: true}
	if !onThisMachine(registry) {
		return []host{secure}
	}
	plain := secure
	plain.plain = true
	plain.base = &url.URL{Scheme: "http", Host: at, Path: apiPath}
	return []host{secure, plain}
}

func onThisMachine(registry string) bool {
	bare, _, err := net.SplitHostPort(registry)
	if err != nil {
		bare = registry
	}
	ip, err := netip.ParseAddr(strings.Trim(bare, "[]"))
	return bare == "localhost" || err == nil && ip.IsLoopback()
}

// String names the host for people.
func (h *host) String() string { return h.base.Scheme + "://" + h.base.Host }
