package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const member = `{"process":{"args":["/app.wasm","-v"],"env":["A=b","PATH=/bin"],"cwd":"/srv"},"hostname":"pod",
"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-id":"s1","io.kubernetes.cri.sandbox-name":"pod",
"io.kubernetes.cri.sandbox-namespace":"team","io.kubernetes.cri.container-name":"app","io.kubernetes.cri.image-name":"x/app:1","petrel.run/egress":"dns"},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/etc/hosts","type":"bind","source":"/h","options":["rbind","rw"]},
{"destination":"/data","type":"bind","source":"/d","options":["rbind","ro"]},{"destination":"/dev/termination-log","type":"bind","source":"/t"},
{"destination":"/etc/hostsdir","type":"none","source":"/e","options":["bind","ro","rw"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}],"resources":{"memory":{"limit":1048576}}}}`

func TestDecode(t *testing.T) {
	c, err := Decode([]byte(member))
	if err != nil {
		t.Fatal(err)
	}
	mounts, annotations := c.Mounts, c.Annotations
	c.Mounts, c.Annotations = nil, nil
	want := &Config{Kind: Member, SandboxID: "s1", Namespace: "team", Pod: "pod", Name: "app", Image: "x/app:1", Hostname: "pod",
		Args: []string{"/app.wasm", "-v"}, Env: []string{"A=b", "PATH=/bin"}, Dir: "/srv", MemoryLimit: 1 << 20, NetworkNamespace: "/run/netns/x"}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	if annotations["petrel.run/egress"] != "dns" {
		t.Errorf("annotations %v", annotations)
	}
	c.Mounts = mounts
	if got, want := c.GuestMounts(), []Mount{{"/d", "/data", true}, {"/e", "/etc/hostsdir", false}}; !reflect.DeepEqual(got, want) {
		t.Errorf("guest's mounts %v, want %v", got, want)
	}
	if got := c.MountSource("/etc/hosts"); got != "/h" {
		t.Errorf("source of /etc/hosts %q", got)
	}
	if got := c.MountSource("/none"); got != "" {
		t.Errorf("source of nothing %q", got)
	}
}

func TestKinds(t *testing.T) {
	for name, tt := range map[string]struct {
		raw  string
		want Kind
		says string
	}{
		"alone":             {`{"process":{"args":["x"]}}`, Alone, ""},
		"sandbox":           {`{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}`, Sandbox, ""},
		"other kind":        {`{"annotations":{"io.kubernetes.cri.container-type":"vm"}}`, 0, "vm"},
		"without a sandbox": {`{"process":{"args":["x"]},"annotations":{"io.kubernetes.cri.container-type":"container"}}`, 0, "no sandbox"},
		"without arguments": {`{}`, 0, "no arguments"},
		"no JSON":           {`{`, 0, "decode"},
		"too long":          {strings.Repeat(" ", maxConfig+1), 0, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Decode([]byte(tt.raw))
			if tt.says == "" && (err != nil || c.Kind != tt.want) || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	for raw, want := range map[string]struct {
		path string
		own  bool
	}{
		`[]`:                              {"", false},
		`[{"type":"network"}]`:            {"", true},
		`[{"type":"network","path":"x"}]`: {"x", false},
	} {
		c, err := Decode([]byte(`{"process":{"args":["x"]},"linux":{"namespaces":` + raw + `}}`))
		if err != nil || c.NetworkNamespace != want.path || c.NewNetwork != want.own {
			t.Errorf("%s: %+v, %v", raw, c, err)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bundle: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(member), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(dir); err != nil || c.Name != "app" {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(member))
	f.Add([]byte(`{"process":{"args":[]},"annotations":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Decode(raw)
		if err != nil {
			return
		}
		if c.Kind != Sandbox && len(c.Args) == 0 || c.Kind == Member && c.SandboxID == "" || c.MemoryLimit < 0 {
			t.Errorf("%+v", c)
		}
		if len(c.GuestMounts()) > len(c.Mounts) {
			t.Error("mounts out of nothing")
		}
		if c.Kind != Sandbox && len(candidates(c)) == 0 {
			t.Error("nowhere to look for the module")
		}
	})
}
