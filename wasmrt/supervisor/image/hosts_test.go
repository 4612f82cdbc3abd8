package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

func bases(hosts []host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.base.String())
	}
	return fmt.Sprint(out)
}

// settings writes a certs.d with one file for each path.
func settings(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHostsFile(t *testing.T) {
	root := settings(t, map[string]string{
		"docker.io/hosts.toml": `
server = "https://registry-1.docker.io"
[host."https://mirror.test"]
  capabilities = ["pull", "resolve"]
[host."http://second.test:5000/v2/hub"]
  capabilities = ["pull"]
  dial_timeout = "3s"
  [host."http://second.test:5000/v2/hub".header]
    x-key = ["a", "b"]
[host."third.test/api"]
  override_path = true
  ca = "ca.pem"
  client = [["cert.pem", "key.pem"], "/abs/both.pem"]
`,
		"private.test_5000_/hosts.toml": "server = \"http://private.test:5000\"\n",
		"plain.test/hosts.toml":         "[host.\"https://mirror.test\"]\n",
		"listed.test/hosts.toml":        "server = \"https://listed.test\"\n[host.\"https://listed.test\"]\ncapabilities=[\"pull\"]\n",
		"docker.test/ca.crt":            "x",
		"docker.test/client.cert":       "x",
		"_default/hosts.toml":           "skip_verify = true\n[host.\"https://all.test\"]\n",
	})
	p := &Puller{cfg: Config{HostsDir: root}}
	hosts := map[string][]host{}
	for registry, want := range map[string]string{
		"index.docker.io":   "[https://mirror.test/v2 http://second.test:5000/v2/hub https://third.test/api https://registry-1.docker.io/v2]",
		"private.test:5000": "[http://private.test:5000/v2]",
		"plain.test":        "[https://mirror.test/v2 https://plain.test/v2]",
		"listed.test":       "[https://listed.test/v2]",
		"docker.test":       "[https://docker.test/v2]",
		"other.test":        "[https://all.test/v2 https://other.test/v2]",
	} {
		r, err := name.NewRegistry(registry)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.hosts(r)
		if err != nil || bases(got) != want {
			t.Errorf("%s: %s, %v; want %s", registry, bases(got), err, want)
		}
		hosts[registry] = got
	}
	if h := hosts["index.docker.io"]; h[1].resolve || !h[1].pull || h[1].dialTimeout != 3*time.Second || fmt.Sprint(h[1].header) != "map[X-Key:[a b]]" || h[1].upstream || !h[3].upstream {
		t.Errorf("second of docker.io: %+v", h[1])
	}
	dir := filepath.Join(root, "docker.io")
	if f := hosts["index.docker.io"][2].files; fmt.Sprint(*f) != fmt.Sprintf("{[%[1]s/ca.pem] [[%[1]s/cert.pem %[1]s/key.pem] [/abs/both.pem /abs/both.pem]] false}", dir) {
		t.Errorf("files of the third: %v", *f)
	}
	if f := hosts["docker.test"][0].files; len(f.ca) != 1 || len(f.client) != 1 || !strings.HasSuffix(f.client[0][1], "client.key") {
		t.Errorf("files of docker.test: %v", *f)
	}
	if h := hosts["other.test"]; h[0].files != nil || !h[1].files.skipVerify {
		t.Errorf("the settings of a server went to its mirror, or nowhere: %+v", h)
	}
}

func TestHostsFileRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"no toml":            "= 1",
		"scheme":             "[host.\"ftp://a\"]",
		"credentials":        "[host.\"https://u:p@a\"]",
		"capability":         "[host.\"https://a\"]\ncapabilities=[\"fly\"]",
		"ca":                 "[host.\"https://a\"]\nca=3",
		"ca list":            "[host.\"https://a\"]\nca=[3]",
		"client":             "[host.\"https://a\"]\nclient=[[\"a\",\"b\",\"c\"]]",
		"header":             "[host.\"https://a\"]\n[host.\"https://a\".header]\nx=1",
		"dial timeout":       "[host.\"https://a\"]\ndial_timeout=\"-1s\"",
		"server":             "server=\"https://\"",
		"too many":           strings.Join(numbered(maxHosts+1, "[host.\"https://h%d\"]\n"), ""),
		"larger than a file": strings.Repeat("#\n", maxHostsFile),
	} {
		t.Run(name, func(t *testing.T) {
			root := settings(t, map[string]string{"r.test/hosts.toml": content})
			if hosts, err := readHosts(filepath.Join(root, "r.test"), "r.test"); !errors.Is(err, ErrConfig) {
				t.Errorf("%v, %v", bases(hosts), err)
			}
		})
	}
}

func numbered(n int, format string) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

func FuzzHostsFile(f *testing.F) {
	f.Add("server = \"https://a\"\n[host.\"http://b/v2/c\"]\nclient=[[\"x\",\"y\"]]\n[host.\"http://b/v2/c\".header]\nk=\"v\"", "r.test")
	f.Fuzz(func(t *testing.T, raw, registry string) {
		hosts, err := parseHosts([]byte(raw), "/dir", registry)
		if err != nil {
			return
		}
		for _, h := range hosts {
			if h.base == nil || (h.base.Scheme != "http" && h.base.Scheme != "https") {
				t.Fatalf("accepted %v", h.base)
			}
		}
	})
}
