package containerd

import (
	"strings"
	"testing"
)

func validConfig(major int) Config {
	return Config{
		Program: Program{Path: "/usr/bin/containerd", Version: "1.6.20~ds1", Major: major}, Root: "/var/lib/x/containerd", State: "/run/x",
		CNIConfDir: "/x/cni", CNIBinDirs: []string{"/x/bin"}, RegistryConfigDir: "/x/certs.d",
		Handlers: []Handler{
			{Name: "runc", Type: RuncShim, Binary: "/usr/sbin/runc"},
			{Name: "petrel", Type: "io.containerd.petrel.v1", Path: `/odd "place"/shim`, PodAnnotations: []string{"petrel.run/*"}},
		},
		RestrictOOM: true,
	}
}

// TestConfiguration looks for the parts that differ; that it is read is what TestRunsPods shows.
func TestConfiguration(t *testing.T) {
	for major, wants := range map[int][]string{
		1: {
			"version = 2\n", `sandbox_image = "petrel.internal/pause@sha256:0"`, `bin_dir = "/x/bin"`,
			`[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."petrel"]`,
		},
		2: {
			"version = 3\n", `sandbox = "petrel.internal/pause@sha256:0"`, `bin_dirs = ["/x/bin"]`, `socket_dir = "/run/x/s"`,
			`[plugins."io.containerd.cri.v1.runtime".containerd.runtimes."petrel"]`,
		},
	} {
		cfg := validConfig(major)
		raw, err := cfg.text("petrel.internal/pause@sha256:0")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(wants, `runtime_path = "/odd \"place\"/shim"`, `pod_annotations = ["petrel.run/*"]`,
			`BinaryName = "/usr/sbin/runc"`, "restrict_oom_score_adj = true", `address = "/run/x/cri.sock"`, `default_runtime_name = "runc"`) {
			if !strings.Contains(string(raw), want) {
				t.Errorf("version %d lacks %s:\n%s", major, want, raw)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	good := validConfig(2)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*Config){
		"want an absolute path": func(c *Config) { c.Root = "containerd" },
		"too long":              func(c *Config) { c.State = "/" + strings.Repeat("x", 100) },
		"no version":            func(c *Config) { c.Program.Major = 0 },
		"no CNI plugin":         func(c *Config) { c.CNIBinDirs = nil },
		"takes one CNI":         func(c *Config) { c.Program.Major, c.CNIBinDirs = 1, []string{"/a", "/b"} },
		"install runc":          func(c *Config) { c.Handlers = nil },
		"is there twice":        func(c *Config) { c.Handlers = append(c.Handlers, c.Handlers[0]) },
		"lower case DNS label":  func(c *Config) { c.Handlers = []Handler{{Name: "a\"]\n", Type: RuncShim}} },
		"has no type":           func(c *Config) { c.Handlers = []Handler{{Name: "a"}} },
		"\"a\": want an":        func(c *Config) { c.Handlers = []Handler{{Name: "a", Type: RuncShim, Binary: "runc"}} },
	} {
		cfg := validConfig(2)
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

func TestVersions(t *testing.T) {
	for printed, want := range map[string]Program{
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n": {Version: "1.6.20~ds1", Major: 1, Minor: 6},
		"containerd github.com/containerd/containerd/v2 v2.4.2 \n":                      {Version: "v2.4.2", Major: 2, Minor: 4},
		"containerd github.com/containerd/containerd 1.5.9 x":                           {},
		"containerd github.com/containerd/containerd/v3 v3.0.0":                         {},
		"containerd x v99999999999999999999.1":                                          {},
		"docker 1.2":                                                                    {},
		"":                                                                              {},
	} {
		got, err := parseVersion("", printed)
		if (err == nil) != (want.Major != 0) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", printed, got, err)
		}
	}
}

func FuzzVersion(f *testing.F) {
	f.Add("containerd github.com/containerd/containerd/v2 v2.4.2 abc\n")
	f.Fuzz(func(t *testing.T, printed string) {
		p, err := parseVersion("/x", printed)
		if err == nil && (p.Major < 1 || p.Major > 2 || !strings.Contains(printed, p.Version)) {
			t.Errorf("%q: %+v", printed, p)
		}
	})
}
