package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/test/dockerregistry"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// pulledBox is a pod of a container that says which version its image is.
const pulledBox = `
apiVersion: v1
kind: Pod
metadata: {name: $NAME}
spec:
  terminationGracePeriodSeconds: 0
  $CLASS
  imagePullSecrets: [{name: $SECRET}]
  containers:
  - {name: main, image: $IMAGE, imagePullPolicy: $POLICY, command: [sh, -c, "echo version $$VERSION; exec sleep 100000"]}
`

func (w *world) pullsBox(name, image, policy, secret string) {
	w.Helper()
	w.pullsBoxAs(name, image, policy, secret, "")
}

func (w *world) pullsBoxAs(name, image, policy, secret, class string) {
	w.Helper()
	if class != "" {
		class = "runtimeClassName: " + class
	}
	w.apply(strings.NewReplacer("$NAME", name, "$IMAGE", image, "$POLICY", policy, "$SECRET", secret, "$CLASS", class, "$$", "$").Replace(pulledBox))
}

// containersPull has the first node's containers come from Debian's registry, which is on that node, speaks TLS and wants a
// login: by tag and by digest, in each pull policy, with the right password, a wrong one and none.
func containersPull(w *world, n *cluster.Nodes) {
	r := registryOn(w, n)
	first := r.Push(w.T, "team/box:v1", versionedBox(w.T, "one"))
	for name, password := range map[string]string{"pull": dockerregistry.Password, "old": "wrong"} {
		w.kubectl("create", "secret", "docker-registry", name, "--docker-server="+r.Host, "--docker-username="+dockerregistry.User, "--docker-password="+password)
	}
	tag, digest := r.Host+"/team/box:v1", r.Host+"/team/box@"+first

	w.pullsBox("absent", tag, "Never", "pull")
	w.comes(`^absent +0/1 +ErrImageNeverPull `, "get", "pod", "absent")
	w.kubectl("delete", "pod", "absent")
	w.pullsBox("by-digest", digest, "IfNotPresent", "pull")
	w.pullsBox("by-tag", tag, "IfNotPresent", "pull")
	w.runsVersion("by-digest", "one")
	w.runsVersion("by-tag", "one")
	for _, name := range []string{"by-digest", "by-tag"} {
		contains(w.T, w.pod(name).Status.ContainerStatuses[0].ImageID, first)
	}

	second := r.Push(w.T, "team/box:v1", versionedBox(w.T, "two"))
	for _, policy := range []string{"IfNotPresent", "Never"} { // of what is here nobody asks the registry again
		name := "still-" + strings.ToLower(policy)
		w.pullsBox(name, tag, policy, "pull")
		w.runsVersion(name, "one")
	}
	w.pullsBox("always", tag, "Always", "pull")
	w.runsVersion("always", "two")
	contains(w.T, w.pod("always").Status.ContainerStatuses[0].ImageID, second)
	w.pullsBox("digest-never", digest, "Never", "pull")
	w.runsVersion("digest-never", "one")

	for name, secret := range map[string]string{"old-login": "old", "no-login": "absent"} {
		w.pullsBox(name, r.Host+"/team/other:v1", "IfNotPresent", secret)
		w.comes(`^`+name+` +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pod", name)
		w.comes(`registry denied access`, "get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	}
	class := "pulls-" + w.ns // whose handler says that it is a container: containerd alone is asked
	w.apply("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: " + class + "}\nhandler: runc\n")
	w.pullsBoxAs("classed-login", r.Host+"/team/other:v1", "IfNotPresent", "old", class)
	w.comes(`^classed-login +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pod", "classed-login")
	w.comes(`401 Unauthorized|authorization failed`, "get", "pod", "classed-login", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	w.kubectl("delete", "pod/classed-login", "runtimeclass/"+class, "--timeout=150s")
	w.pullsBox("stranger", tag, "Never", "old") // what came for a login is not for who has another
	w.comes(`^stranger +0/1 +ErrImageNeverPull `, "get", "pod", "stranger")
	w.kubectl("delete", "pod", "by-digest", "by-tag", "still-ifnotpresent", "still-never", "always", "digest-never", "old-login", "no-login", "stranger", "--timeout=150s")
}

// runsVersion waits until a pod runs, and reads which version of the image it has.
func (w *world) runsVersion(name, version string) {
	w.Helper()
	w.kubectl("wait", "pod/"+name, "--for=condition=Ready", "--timeout=150s")
	w.comes("^version "+version+"$", "logs", name)
}

// registryOn starts a registry on the first node and tells the node of its authority.
func registryOn(w *world, n *cluster.Nodes) *dockerregistry.Registry {
	w.Helper()
	node := n.Lab.Nodes()[0]
	netns := fmt.Sprintf("--net=/proc/%d/ns/net", n.Lab.State().Nodes[0].Place.Init)
	r := dockerregistry.Start(w.T, dockerregistry.Options{TLS: true, Auth: true,
		Command: func(name string, args ...string) *exec.Cmd {
			return exec.Command("nsenter", append([]string{netns, name}, args...)...)
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return node.Dial(ctx, to)
		},
	})
	dir := filepath.Join(node.Dir, lab.Worker, "certs.d", r.Host)
	err := os.MkdirAll(dir, 0o755)
	if err == nil { // a server that is named: containerd 1.x else asks registries on loopback without TLS
		err = os.WriteFile(filepath.Join(dir, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\nca = %[2]q\n", r.Host, r.CA), 0o644)
	}
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func versionedBox(t *testing.T, version string) v1.Image {
	t.Helper()
	return containerdtest.BusyboxImage(t, v1.Config{Env: []string{"PATH=/bin", "VERSION=" + version}})
}
