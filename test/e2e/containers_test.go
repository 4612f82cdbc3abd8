package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/worker/containerd"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// boxImage is what $BOX stands for in manifests: a shell with the usual commands, and test/box.
const boxImage = "test.petrel.internal/box:1"

// containersWorld answers a world in a cluster of its own whose first nodes run containers too, and have boxImage.
func containersWorld(t *testing.T, nodes int, o cluster.Options) (*world, *cluster.Nodes) {
	t.Helper()
	n := nodesClusterWith(t, o, nodes, 1)
	image := box(t)
	for i := range o.Containers {
		giveImage(t, n, i, boxImage, image)
	}
	w := worldIn(t, n.Cluster())
	w.comes("^node-1 .*containerd://", "get", "nodes", "-o", "wide")
	return w, n
}

// box is boxImage.
func box(t *testing.T) v1.Image {
	t.Helper()
	program, err := suite.tree.Program(t.Context(), "./test/box")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return containerdtest.BusyboxImage(t, v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}},
		map[string]containerdtest.File{"bin/box": {Content: content, Mode: 0o755}})
}

// giveImage gives the i-th node's containerd an image.
func giveImage(t *testing.T, n *cluster.Nodes, i int, name string, image v1.Image) {
	t.Helper()
	importImage(t, n.Lab.State().Nodes[i].Place.Init, name, image)
}

// importImage gives an image to the containerd of a machine by its socket, which is in the machine's own /run. A worker
// is a node before its containerd serves: until then it is tried again.
func importImage(t *testing.T, init int, name string, image v1.Image) {
	t.Helper()
	err := cluster.Until(t.Context(), patience, "containerd to take an image", func() error {
		sockets, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/run/petrel/*/cri.sock", init))
		if err != nil || len(sockets) != 1 {
			return fmt.Errorf("sockets of containerd: %q, %v", sockets, err)
		}
		client, err := containerd.NewClient(sockets[0])
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Import(t.Context(), name, image)
	})
	if err != nil {
		t.Fatal(err)
	}
}

const containersManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: shop
        image: $BOX
        command: [box, serve, ":8080", "from a container"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: sh, image: $BOX, command: [sh, -c, "echo ready; exec sleep 100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: host, image: $BOX, command: [box, serve, ":18080", "from the host"]}
`

// TestContainers runs containers beside Wasm pods on a cluster of two nodes, of which one runs Wasm alone.
func TestContainers(t *testing.T) {
	t.Parallel()
	w, n := containersWorld(t, 2, cluster.Options{Containers: 1, DualStack: true})
	w.opensShop()

	t.Run("where they run", func(t *testing.T) { containersPlaced(w.in(t)) })
	t.Run("their network", func(t *testing.T) { containersNetwork(w.in(t), n) })
	t.Run("both families", func(t *testing.T) { bothFamilies(w.in(t), n) })
	t.Run("host ports", func(t *testing.T) { hostPortsOfPods(w.in(t), n) })
	t.Run("kubectl", func(t *testing.T) { containersKubectl(w.in(t)) })
	t.Run("policies", func(t *testing.T) { containersPolicies(w.in(t)) })
	t.Run("runtime classes", func(t *testing.T) { containersClasses(w.in(t), n) })
	t.Run("what pods ask for", func(t *testing.T) { containersLifecycle(w.in(t)) })
	t.Run("resize", func(t *testing.T) { containersResize(w.in(t)) })
	t.Run("a pod of both kinds", func(t *testing.T) { podOfBothKinds(w.in(t), n) })
	t.Run("registry", func(t *testing.T) { containersPull(w.in(t), n) })
	t.Run("what dies", func(t *testing.T) { containersSurvive(w.in(t), n) })
	t.Run("nothing is left", func(t *testing.T) { containersLeaveNothing(w.in(t), n) })
}

// opensShop has Deployments of both kinds behind Services, and pods of containers that call them.
func (w *world) opensShop() {
	w.Helper()
	w.apply(containersManifest)
	w.apply(web)
	w.rollout("shop")
	w.rollout("web")
	w.kubectl("wait", "pod/client", "pod/host", "--for=condition=Ready", "--timeout=150s")
}

// containersPlaced checks that nodes tell what they run, and that containers are where they can be.
func containersPlaced(w *world) {
	for node, want := range map[string]string{"node-1": "true", "node-2": "false"} {
		object, err := w.client.CoreV1().Nodes().Get(w.Context(), node, metav1.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		if got := object.Labels["petrel.run/runtime-containerd"]; got != want || object.Labels["petrel.run/runtime-wasm"] != "true" {
			w.Errorf("%s has the labels %v", node, object.Labels)
		}
	}
	for _, pod := range w.pods() {
		id := pod.Status.ContainerStatuses[0].ContainerID
		switch pod.Labels["app"] {
		case "web":
			if !strings.HasPrefix(id, "petrel-wasmrt://") {
				w.Errorf("%s is %s", pod.Name, id)
			}
		default:
			if pod.Spec.NodeName != "node-1" || !strings.HasPrefix(id, "containerd://") {
				w.Errorf("%s is %s on %s", pod.Name, id, pod.Spec.NodeName)
			}
		}
	}
}

// containersNetwork has a container reach Services of both kinds by their names, and be reached from elsewhere.
func containersNetwork(w *world, n *cluster.Nodes) {
	for url, want := range map[string]string{
		"http://shop/": "from a container", "http://shop." + w.ns + ".svc.cluster.local/": "from a container", "http://web/": "",
		"http://" + n.Lab.Nodes()[0].Addresses[0].String() + ":18080/": "from the host",
	} {
		w.eventually(url, func() error {
			out, err := w.k.Run(w.Context(), "", "exec", "client", "--", "box", "get", url)
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("it answers %q", out)
			}
			return err
		})
	}
	shop := w.kubectl("get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}")
	w.eventually("the service from the other node", func() error {
		answer, err := n.HTTP(1).Get("http://" + shop + ":80/")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", answer.Status)
		}
		return nil
	})
	if got := w.kubectl("exec", "client", "--", "hostname"); strings.TrimSpace(got) != "client" {
		w.Errorf("the container's host name is %q", got)
	}
	host := w.pod("host")
	if host.Status.PodIP != host.Status.HostIP {
		w.Errorf("the pod on the host's network has %s, the host %s", host.Status.PodIP, host.Status.HostIP)
	}
}

// bothFamilies reaches pods of both kinds by their IPv6 addresses too, and containers know theirs.
func bothFamilies(w *world, n *cluster.Nodes) {
	for _, pod := range w.pods() {
		want, serves := map[string]string{"shop": "from a container", "web": ""}[pod.Labels["app"]]
		if !serves {
			continue
		}
		if len(pod.Status.PodIPs) != 2 || !strings.HasPrefix(pod.Status.PodIPs[1].IP, "fd42:") {
			w.Errorf("%s has the addresses %v", pod.Name, pod.Status.PodIPs)
			continue
		}
		url := "http://[" + pod.Status.PodIPs[1].IP + "]:8080/"
		w.eventually(pod.Name+" by IPv6", func() error {
			fromPod, err := w.k.Run(w.Context(), "", "exec", "client", "--", "box", "get", url)
			if err != nil {
				return err
			}
			fromNode, err := read(w.Context(), n.HTTP(1), url)
			if err == nil && (!strings.Contains(fromPod, want) || !strings.Contains(fromNode, want)) {
				err = fmt.Errorf("it answers %q and %q", fromPod, fromNode)
			}
			return err
		})
	}
	client := w.pod("client").Status.PodIPs
	contains(w.T, w.kubectl("exec", "client", "--", "cat", "/etc/hosts"), client[0].IP+"\tclient", client[1].IP+"\tclient")
}

// containersKubectl reads a container's log and runs commands in it.
func containersKubectl(w *world) {
	if got := w.kubectl("logs", "client"); got != "ready\n" {
		w.Errorf("the log is %q", got)
	}
	if got := w.kubectlIn("hello\n", "exec", "-i", "client", "--", "cat"); got != "hello\n" {
		w.Errorf("cat answers %q", got)
	}
	if err := w.kubectlFails("exec", "client", "--", "sh", "-c", "exit 7"); !strings.Contains(err, "exit code 7") {
		w.Errorf("exit 7 is told as %s", err)
	}
}

const denyShop = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: shop}}, policyTypes: [Ingress]}
`

// containersPolicies closes a container's pod to others, and opens it again.
func containersPolicies(w *world) {
	pod := strings.Fields(w.kubectl("get", "pods", "-l", "app=shop", "-o", "jsonpath={.items[*].status.podIP}"))[0]
	get := func() error {
		_, err := w.k.Run(w.Context(), "", "exec", "client", "--", "box", "get", "http://"+pod+":8080/")
		return err
	}
	if err := get(); err != nil {
		w.Fatal(err)
	}
	w.apply(denyShop)
	w.eventually("the policy to hold", func() error {
		if get() == nil {
			return fmt.Errorf("the pod answers")
		}
		return nil
	})
	w.kubectl("delete", "networkpolicy", "deny")
	w.eventually("the policy to be gone", get)
}

const classes = `
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: other-%[1]s}
handler: runc
overhead: {podFixed: {cpu: 10m, memory: 8Mi}}
scheduling:
  nodeSelector: {petrel.run/runtime-containerd: "true"}
  tolerations: [{key: sandbox, operator: Exists}]
---
apiVersion: v1
kind: Pod
metadata: {name: classed}
spec:
  runtimeClassName: other-%[1]s
  terminationGracePeriodSeconds: 1
  containers:
  - {name: sh, image: $BOX, command: [sleep, "100000"], resources: {requests: {cpu: 20m}, limits: {memory: 32Mi}}}
`

const unclassed = `
apiVersion: v1
kind: Pod
metadata: {name: unclassed}
spec:
  runtimeClassName: %s
  overhead: {cpu: 1}
  containers:
  - {name: sh, image: $BOX}
`

// containersClasses has a class lead to its handler, with what it says of all its pods, and refuses what contradicts it.
func containersClasses(w *world, n *cluster.Nodes) {
	class := "other-" + w.ns
	w.kubectl("get", "runtimeclass", "wasm")
	w.apply(fmt.Sprintf(classes, w.ns))
	w.kubectl("wait", "pod/classed", "--for=condition=Ready", "--timeout=150s")
	p := w.pod("classed")
	if p.Spec.Overhead.Cpu().MilliValue() != 10 || p.Spec.NodeSelector["petrel.run/runtime-containerd"] != "true" ||
		!slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "sandbox" }) {
		w.Errorf("of its class the pod has %v, %v, %v", p.Spec.Overhead, p.Spec.NodeSelector, p.Spec.Tolerations)
	}
	if got, want := podMemoryLimit(w, n, p), int64(40<<20); got != want {
		w.Errorf("the pod's group is bound to %d bytes, want %d", got, want)
	}
	for name, want := range map[string]string{
		"none-such": `pod rejected: RuntimeClass "none-such" not found`, class: "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
	} {
		file := w.file(name+".yaml", []byte(w.fill(fmt.Sprintf(unclassed, name))))
		if err := w.kubectlFails("apply", "-f", file); !strings.Contains(err, want) {
			w.Errorf("a pod of class %s: %s", name, err)
		}
	}
	w.kubectl("delete", "pod", "classed")
	w.kubectl("delete", "runtimeclass", class)
}

// podMemoryLimit reads the bound of a pod's control group on the first node, in whichever hierarchy it is.
func podMemoryLimit(w *world, n *cluster.Nodes, p *corev1.Pod) int64 {
	for _, top := range n.Lab.State().Nodes[0].Place.Groups {
		for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
			found, _ := filepath.Glob(filepath.Join(top, "kubepods", "*", "pod"+string(p.UID), file))
			for _, path := range found {
				text, err := os.ReadFile(path)
				if err != nil {
					w.Fatal(err)
				}
				if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
					return limit
				}
			}
		}
	}
	w.Error("the pod has no control group of memory")
	return 0
}

const both = `
apiVersion: v1
kind: Pod
metadata: {name: both, labels: {app: both}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: $PROBE
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
  - {name: side, image: $BOX, command: [box, serve, "127.0.0.1:9090", "beside the module"]}
`

// podOfBothKinds has a Wasm module and a container in one pod: one address, one localhost, and one life.
func podOfBothKinds(w *world, n *cluster.Nodes) {
	w.apply(both)
	w.kubectl("wait", "pod/both", "--for=condition=Ready", "--timeout=150s")
	p := w.pod("both")
	runs := map[string]string{}
	for _, c := range p.Status.ContainerStatuses {
		runs[c.Name], _, _ = strings.Cut(c.ContainerID, "://")
	}
	if runs["web"] != "petrel-wasmrt" || runs["side"] != "containerd" || p.Spec.NodeName != "node-1" {
		w.Errorf("on %s run %v", p.Spec.NodeName, runs)
	}
	w.kubectl("exec", "both", "-c", "side", "--", "box", "get", "http://127.0.0.1:8080/")
	w.eventually("the container to listen", func() error {
		_, err := w.k.Run(w.Context(), "", "exec", "both", "-c", "side", "--", "box", "get", "http://127.0.0.1:9090/")
		return err
	})
	w.kubectl("exec", "client", "--", "box", "get", "http://"+p.Status.PodIP+":8080/")
	w.eventually("the pod from the other node", func() error {
		answer, err := n.HTTP(1).Get("http://" + p.Status.PodIP + ":8080/")
		if err == nil {
			answer.Body.Close()
		}
		return err
	})
	killed, err := n.Lab.Nodes()[0].KillMatching(func(args []string) bool { return len(args) > 2 && args[0] == "box" && args[2] == "127.0.0.1:9090" })
	if err != nil || killed != 1 {
		w.Fatalf("killed %d: %v", killed, err)
	}
	w.comes("^both +2/2 +Running +1 ", "get", "pod", "both")
	w.kubectl("exec", "both", "-c", "side", "--", "box", "get", "http://127.0.0.1:8080/")
}

// containersSurvive kills containerd and the worker: containers go on, and what comes after runs.
func containersSurvive(w *world, n *cluster.Nodes) {
	node := n.Lab.Nodes()[0]
	before := w.pod("client")
	killed, err := node.KillMatching(func(args []string) bool { return len(args) > 0 && filepath.Base(args[0]) == "containerd" })
	if err != nil || killed != 1 {
		w.Fatalf("killed %d containerds: %v", killed, err)
	}
	w.kubectl("rollout", "restart", "deployment/shop")
	w.rollout("shop")
	if err := node.Kill(w.Context(), lab.Worker); err != nil {
		w.Fatal(err)
	}
	if err := node.Restart(lab.Worker); err != nil {
		w.Fatal(err)
	}
	w.kubectl("rollout", "restart", "deployment/shop")
	w.rollout("shop")
	after := w.pod("client")
	if after.UID != before.UID || after.Status.ContainerStatuses[0].RestartCount != 0 || after.Status.PodIP != before.Status.PodIP {
		w.Errorf("the pod was %+v, and is %+v", before.Status, after.Status)
	}
	w.eventually("the service after all", func() error { // the rollout is done before its endpoints have come round
		got, err := w.k.Run(w.Context(), "", "exec", "client", "--", "box", "get", "http://shop/")
		if err == nil && !strings.Contains(got, "from a container") {
			err = fmt.Errorf("it answers %q", got)
		}
		return err
	})
}

// pod answers a pod of the test's.
func (w *world) pod(name string) *corev1.Pod {
	w.Helper()
	p, err := w.client.CoreV1().Pods(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// containersLeaveNothing removes everything and looks for what stays on the node.
func containersLeaveNothing(w *world, n *cluster.Nodes) {
	w.kubectl("delete", "deployment,pod,service", "--all", "--wait=true", "--timeout=150s")
	init := n.Lab.State().Nodes[0].Place.Init
	w.eventually("the node to be as before", func() error {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", init))
		if err != nil {
			return err
		}
		if left := regexp.MustCompile(`(?m)^(\S+ ){4}/run/petrel/.*$`).FindAllString(string(mounts), -1); len(left) > 0 {
			return fmt.Errorf("mounts are left:\n%s", strings.Join(left, "\n"))
		}
		for _, p := range n.Lab.Nodes()[0].Processes() {
			if len(p.Args) > 0 && strings.HasPrefix(filepath.Base(p.Args[0]), "containerd-shim") {
				return fmt.Errorf("a shim is left: %q", p.Args)
			}
		}
		links, err := output(w.T, n.Lab.Nodes()[0], "", "ip", "-o", "link")
		if err == nil && strings.Contains(links, "ptl") {
			err = fmt.Errorf("links are left:\n%s", links)
		}
		if err != nil {
			return err
		}
		var groups []string
		for _, top := range n.Lab.State().Nodes[0].Place.Groups {
			pods, _ := filepath.Glob(top + "/kubepods/*/pod*")
			groups = append(groups, pods...)
		}
		if len(groups) > 0 {
			return fmt.Errorf("control groups are left: %q", groups)
		}
		return nil
	})
}
