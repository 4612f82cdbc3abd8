package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

const (
	// maxHostsFile bounds a hosts.toml.
	maxHostsFile = 1 << 20
	// maxHosts bounds the mirrors that are tried for one registry.
	maxHosts = 16
)

// hostEntry is what containerd's hosts.toml says of a host, and at its top level of the registry itself.
type hostEntry struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

type hostsFile struct {
	hostEntry
	Server string               `toml:"server"`
	Hosts  map[string]hostEntry `toml:"host"`
}

// readHosts reads the settings of a registry: hosts.toml, or where there is none the certificates that Docker looks for.
// They are read for each pull, so that a change needs no restart.
func readHosts(dir, registry string) ([]host, error) {
	raw, err := readSmall(filepath.Join(dir, "hosts.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return dockerHosts(dir, registry)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read registry settings: %w", ErrConfig, err)
	}
	hosts, err := parseHosts(raw, dir, registry)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, filepath.Join(dir, "hosts.toml"), err)
	}
	return hosts, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHostsFile+1))
	if err == nil && len(raw) > maxHostsFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxHostsFile)
	}
	return raw, err
}

// parseHosts answers the hosts in the order of the file, and the registry itself last, which counts as a mirror that
// may do everything unless the file names another server.
func parseHosts(raw []byte, dir, registry string) ([]host, error) {
	var file hostsFile
	meta, err := toml.Decode(string(raw), &file)
	if err != nil {
		return nil, err
	}
	var hosts []host
	for _, key := range meta.Keys() {
		if len(key) != 2 || key[0] != "host" {
			continue
		}
		if len(hosts) == maxHosts {
			return nil, fmt.Errorf("more than %d hosts", maxHosts)
		}
		entry := file.Hosts[key[1]]
		h, err := entry.host(key[1], dir)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", key[1], err)
		}
		h.upstream = h.base.Host == registry
		hosts = append(hosts, h)
	}
	if file.Server == "" {
		rest := upstream(registry)
		for i := range rest {
			if err := file.into(&rest[i], dir); err != nil {
				return nil, err
			}
		}
		return append(hosts, rest...), nil
	}
	server, err := file.host(file.Server, dir)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", file.Server, err)
	}
	server.upstream = true
	if slices.ContainsFunc(hosts, func(h host) bool { return *h.base == *server.base }) {
		return hosts, nil // it is tried where it is listed
	}
	return append(hosts, server), nil
}

// host reads an entry with the address it is for.
func (e *hostEntry) host(address, dir string) (host, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return host{}, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return host{}, errors.New("want scheme, http or https, host and perhaps a path")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !e.OverridePath && u.Path != apiPath && !strings.HasPrefix(u.Path, apiPath+"/") {
		u.Path += apiPath
	}
	h := host{base: u, resolve: true, pull: true}
	return h, e.into(&h, dir)
}

// into applies what the entry says to a host.
func (e *hostEntry) into(h *host, dir string) error {
	if e.Capabilities != nil {
		h.resolve, h.pull = false, false
		for _, c := range e.Capabilities {
			switch c {
			case "resolve":
				h.resolve = true
			case "pull":
				h.pull = true
			case "push", "referrers": // nothing that is done here
			default:
				return fmt.Errorf("unknown capability %q", c)
			}
		}
	}
	files := &hostFiles{skipVerify: e.SkipVerify != nil && *e.SkipVerify}
	var err error
	if files.ca, err = pathList(e.CA, dir); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if files.client, err = pathPairs(e.Client, dir); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if files.skipVerify || len(files.ca)+len(files.client) > 0 {
		h.files = files
	}
	if h.header, err = headers(e.Header); err != nil {
		return err
	}
	if e.DialTimeout != "" {
		if h.dialTimeout, err = time.ParseDuration(e.DialTimeout); err != nil || h.dialTimeout <= 0 {
			return fmt.Errorf("dial_timeout %q: want a time such as 3s", e.DialTimeout)
		}
	}
	return nil
}

// pathList reads a path or a list of them; relative ones are below dir.
func pathList(v any, dir string) ([]string, error) {
	items, err := stringList(v)
	if err != nil {
		return nil, err
	}
	for i, item := range items {
		items[i] = below(dir, item)
	}
	return items, nil
}

func below(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func stringList(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%v is no string", item)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%v is neither a string nor a list of strings", v)
}

// pathPairs reads a file, a list of files, or a list of pairs of a certificate's and its key's file.
func pathPairs(v any, dir string) ([][2]string, error) {
	all, ok := v.([]any)
	if !ok {
		all = []any{v}
		if v == nil {
			return nil, nil
		}
	}
	var out [][2]string
	for _, item := range all {
		files, err := stringList(item)
		if err != nil {
			return nil, err
		}
		switch len(files) {
		case 1:
			out = append(out, [2]string{below(dir, files[0]), below(dir, files[0])})
		case 2:
			key := below(dir, files[1])
			if files[1] == "" {
				key = below(dir, files[0])
			}
			out = append(out, [2]string{below(dir, files[0]), key})
		default:
			return nil, errors.New("want a certificate, or a certificate and its key")
		}
	}
	return out, nil
}

func headers(from map[string]any) (http.Header, error) {
	if len(from) == 0 {
		return nil, nil
	}
	out := http.Header{}
	for name, v := range from {
		values, err := stringList(v)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		out[http.CanonicalHeaderKey(name)] = values
	}
	return out, nil
}

// dockerHosts is a registry whose directory holds only certificates: *.crt vouch for it, *.cert with *.key are shown.
func dockerHosts(dir, registry string) ([]host, error) {
	ca, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil, err
	}
	certs, err := filepath.Glob(filepath.Join(dir, "*.cert"))
	if err != nil {
		return nil, err
	}
	hosts := upstream(registry)
	if len(ca)+len(certs) == 0 {
		return hosts, nil
	}
	files := &hostFiles{ca: ca}
	for _, c := range certs {
		files.client = append(files.client, [2]string{c, strings.TrimSuffix(c, ".cert") + ".key"})
	}
	hosts = hosts[:1] // who gives certificates means TLS
	hosts[0].files = files
	return hosts, nil
}
