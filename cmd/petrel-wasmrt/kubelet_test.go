package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kubeletProgram answers the kubelet that test/kubelet/build.sh has built, or that PETREL_KUBELET names.
func kubeletProgram(t *testing.T) string {
	t.Helper()
	program := os.Getenv("PETREL_KUBELET")
	if program == "" {
		program = "../../bin/tools/kubelet"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s: there is no kubelet (%v): build one by test/kubelet/build.sh", t.Name(), err)
	}
	program, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// kubelet is a real one without an API server, whose pods are files, on a node of ours. It works on loopback, without
// control groups, and behind a mount namespace in which it finds the kernel's settings as it would make them.
type kubelet struct {
	t         *testing.T
	manifests string
	url       string
	client    *http.Client
	script    string
	config    func(port int) error // writes it
	cmd       *exec.Cmd
	log       bytes.Buffer
}

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %d
healthzPort: 0
readOnlyPort: 0
staticPodPath: %s
containerRuntimeEndpoint: unix://%s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
fileCheckFrequency: 1s
syncFrequency: 2s
podCIDR: 127.42.77.0/24
podLogsDir: %s
evictionHard: {memory.available: 1Mi}
imageGCHighThresholdPercent: 100
`

// settings are the kernel's, as a kubelet would set them.
var settings = map[string]string{"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"}

func newKubelet(t *testing.T, program string, n *node) *kubelet {
	t.Helper()
	dir := t.TempDir()
	k := &kubelet{t: t, manifests: filepath.Join(dir, "manifests"), client: &http.Client{Timeout: 60 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} // of its own making, a moment ago
	config := filepath.Join(dir, "config.yaml")
	logs := filepath.Join(dir, "logs")
	script := "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs /mnt\n"
	for name, value := range settings {
		script += fmt.Sprintf("echo %s > /mnt/x; mv /mnt/x /mnt/%[2]s; mount --bind /mnt/%[2]s /proc/sys/%[3]s\n", value, strings.ReplaceAll(name, "/", "."), name)
	}
	for _, err := range []error{os.Mkdir(k.manifests, 0o755), os.Mkdir(logs, 0o755), os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	script += fmt.Sprintf("exec %s --config %s --root-dir %s --cert-dir %s --hostname-override node --v=2\n", program, config, filepath.Join(dir, "root"), filepath.Join(dir, "certs"))
	k.script = script
	k.config = func(port int) error {
		return os.WriteFile(config, fmt.Appendf(nil, kubeletConfig, port, k.manifests, n.socket, logs), 0o600)
	}
	k.start()
	t.Cleanup(func() {
		k.client.CloseIdleConnections()
		k.kill()
		if t.Failed() {
			t.Logf("the kubelet's log:\n%s", k.log.Bytes())
		}
	})
	return k
}

func (k *kubelet) start() {
	k.t.Helper()
	port := freePort(k.t)
	if err := k.config(port); err != nil {
		k.t.Fatal(err)
	}
	k.url = fmt.Sprintf("https://127.0.0.1:%d", port)
	k.cmd = exec.Command("unshare", "--mount", "sh", "-c", k.script)
	k.cmd.Stdout, k.cmd.Stderr = &k.log, &k.log
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kubelet) kill() {
	_ = k.cmd.Process.Kill() // the kubelet itself: the shell has become it
	_ = k.cmd.Wait()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ask answers what the kubelet's server says.
func (k *kubelet) ask(method, path string) (int, string) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, k.url+path, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	response, err := k.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(raw)
}

// kubePod is what is read of a pod.
type kubePod struct {
	Status struct {
		Phase             string
		PodIP             string
		ContainerStatuses []struct {
			Ready        bool
			RestartCount int
			ContainerID  string
		}
	}
}

// pod answers the only pod.
func (k *kubelet) pod() (p kubePod) {
	k.t.Helper()
	var list struct{ Items []kubePod }
	if code, raw := k.ask("GET", "/pods"); code == http.StatusOK {
		if err := json.Unmarshal([]byte(raw), &list); err != nil {
			k.t.Fatal(err)
		}
	}
	if len(list.Items) == 1 {
		p = list.Items[0]
	}
	return p
}

func (k *kubelet) write(manifest string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.manifests, "pod.yaml"), []byte(manifest), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

const helloPod = `apiVersion: v1
kind: Pod
metadata: {name: hello, namespace: default}
spec:
  terminationGracePeriodSeconds: 2
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - name: c
    image: %s
    ports: [{containerPort: 8080}]
    env: [{name: GREETING, value: hi}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
`

// TestKubelet has a real kubelet use our socket: pods with volumes and probes run, are told of, survive both of us, and go.
func TestKubelet(t *testing.T) {
	program := kubeletProgram(t)
	n := openNode(t)
	image, _ := n.reg.push("x/hello", helloWasm)
	k := newKubelet(t, program, n)
	k.write(fmt.Sprintf(helloPod, image))
	p := k.ready("")
	if !strings.HasPrefix(p.Status.PodIP, "127.42.77.") {
		t.Errorf("address %s is not of the kubelet's pod CIDR", p.Status.PodIP)
	}
	address := &pod{ip: p.Status.PodIP}
	n.wantAnswer(address, "")
	id := p.Status.ContainerStatuses[0].ContainerID
	if !strings.HasPrefix(id, "petrel-wasmrt://") {
		t.Errorf("container %s", id)
	}
	for path, want := range map[string]string{
		"/metrics/resource":                   `container_memory_working_set_bytes{container="c",namespace="default",pod="hello-node"}`,
		"/runningpods/":                       `"name":"hello-node"`,
		"/containerLogs/default/hello-node/c": "",
	} {
		// What it knows of the runtime is seconds old.
		eventually(t, path+" to tell "+want, func() bool {
			code, raw := k.ask("GET", path)
			return code == http.StatusOK && strings.Contains(raw, want)
		})
	}
	if code, raw := k.ask("POST", "/run/default/hello-node/c?cmd=ls"); code == http.StatusOK || !strings.Contains(raw, "no shell") {
		t.Errorf("exec of what is not there: %d %.500s", code, raw)
	}

	k.kill()
	n.kill()
	n.wantAnswer(address, "") // without both
	n.start()
	k.start()
	if p := k.ready(id); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("restarted: %+v", p)
	}
	n.wantAnswer(address, "")

	if err := os.Remove(filepath.Join(k.manifests, "pod.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone", func() bool { return n.readySandboxes() == 0 })
	eventually(t, "no mounts are left of it", func() bool { return !n.bound() })
}

// ready waits until the only pod is, with the container of an id if one is named.
func (k *kubelet) ready(id string) (p kubePod) {
	k.t.Helper()
	eventually(k.t, "the pod is ready", func() bool {
		p = k.pod()
		c := p.Status.ContainerStatuses
		return p.Status.Phase == "Running" && len(c) == 1 && c[0].Ready && (id == "" || c[0].ContainerID == id)
	})
	return p
}

func (n *node) readySandboxes() int {
	n.t.Helper()
	r, err := n.rt.ListPodSandbox(n.ctx(), &runtimev1.ListPodSandboxRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	count := 0
	for _, s := range r.Items {
		if s.State == runtimev1.PodSandboxState_SANDBOX_READY {
			count++
		}
	}
	return count
}
