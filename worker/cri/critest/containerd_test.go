package critest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/test/dockerregistry"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/cri/critest"
)

// task obeys its arguments as the tests' Wasm guest of that name does.
const task = `trap 'exit 143' TERM
while [ $# -ge 2 ]; do
	verb=$1 value=$2; shift 2
	case $verb in
	print) echo "$value" ;;
	complain) echo "$value" >&2 ;;
	env) eval "echo \"$value=\${$value}\"" ;;
	sleep) usleep "${value}000" & wait $! ;;
	exit) exit "$value" ;;
	*) exit 2 ;;
	esac
done`

// TestContainerd runs the suite on Debian's containerd: what the suite expects of runtimes is thereby checked.
func TestContainerd(t *testing.T) { testContainerd(t, containerdtest.Config{}) }

// TestContainerd2 runs it on the current one.
func TestContainerd2(t *testing.T) {
	if testing.Short() {
		t.Skip("building containerd 2 takes minutes the first time")
	}
	testContainerd(t, containerdtest.Config{Program: containerdtest.V2(t)})
}

func testContainerd(t *testing.T, cfg containerdtest.Config) {
	c := containerdtest.Start(t, cfg)
	c.Import("test.petrel.internal/task:1", containerdtest.BusyboxImage(t, v1.Config{Entrypoint: []string{"/bin/sh", "-c", task, "task"}}))
	c.Import("test.petrel.internal/server:1", containerdtest.BusyboxImage(t, v1.Config{
		Entrypoint: []string{"/bin/sh", "-c", "mkdir /tmp/www && echo ok >/tmp/www/index.html && exec httpd -f -p 8642 -h /tmp/www"},
	}))
	t.Run("Breakouts", func(t *testing.T) { testBreakouts(t, c) })
	critest.Run(t, critest.Target{
		Client: c.CRI, Endpoint: c.Socket(), Dial: c.Dial,
		TaskImage: "test.petrel.internal/task:1", ServerImage: "test.petrel.internal/server:1", ShellImage: c.ImportBusybox(),
		Prepare: func(p *runtimev1.PodSandboxConfig) {
			p.Linux.CgroupParent = c.CgroupParent + "/pod" + p.GetMetadata().GetUid()
		},
		Users:    usersFor(t, c),
		Registry: registryFor(t, c), Known: knownOfContainerd[c.Major()],
	})
}

// registryFor serves images where the containerd reaches them, over TLS, one of them for a login.
func registryFor(t *testing.T, c *containerdtest.Containerd) *critest.Registry {
	t.Helper()
	start := func(auth bool) *dockerregistry.Registry {
		r := dockerregistry.Start(t, dockerregistry.Options{TLS: true, Auth: auth, Dial: c.Dial, Command: func(name string, args ...string) *exec.Cmd {
			return exec.Command("nsenter", append([]string{"--net=" + c.Netns, "--", name}, args...)...)
		}})
		dir := filepath.Join(c.RegistryConfigDir(), r.Host)
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\nca = %[2]q\n", r.Host, r.CA), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	open, closed := start(false), start(true)
	image := containerdtest.Image(t, v1.Config{Cmd: []string{"/nothing"}}, map[string]containerdtest.File{"etc/file": {Content: []byte(strings.Repeat("content ", 1000))}})
	digest := open.Push(t, "suite/image:1", image)
	open.Push(t, "suite/same:1", image)
	open.Push(t, "suite/image:latest", image)
	open.Push(t, "suite/other:1", containerdtest.Image(t, v1.Config{Cmd: []string{"/nothing"}}, map[string]containerdtest.File{"etc/file": {Content: []byte("another")}}))
	closed.Push(t, "suite/private:1", image)
	return &critest.Registry{Image: open.Host + "/suite/image:1", Same: open.Host + "/suite/same:1", Other: open.Host + "/suite/other:1", Digest: digest, Private: closed.Host + "/suite/private:1",
		Auth: &runtimev1.AuthConfig{Username: dockerregistry.User, Password: dockerregistry.Password}}
}

// usersFor are images for each way to name a user.
func usersFor(t *testing.T, c *containerdtest.Containerd) []critest.ImageUser {
	t.Helper()
	users := []critest.ImageUser{{Image: "1002"}, {Image: "1002:1003"}, {Image: "user", Name: "user"}, {Image: "user:extra", Name: "user"}}
	for n := range users {
		u := &users[n]
		config := v1.Config{Cmd: []string{"/nothing"}, User: u.Image}
		if u.Name == "" {
			u.UID = 1002
		}
		u.Image = fmt.Sprintf("test.petrel.internal/user%d:1", n)
		c.Import(u.Image, containerdtest.Image(t, config, map[string]containerdtest.File{"etc/user": {Content: []byte(u.Image)}}))
	}
	return users
}

// knownOfContainerd are what its versions do otherwise.
var knownOfContainerd = map[int]map[string]string{
	1: {
		"Image/Filter":    "containerd lists all images whatever the filter",
		"Events/Life":     "containerd 1.6 has no events",
		"Events/Deletion": "containerd 1.6 has no events",
	},
	2: {
		"Image/Filter": "containerd lists all images whatever the filter",
	},
}
