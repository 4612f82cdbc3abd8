package containers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/test/toolchain"
	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/cri"
)

// BenchmarkStart runs pods one after the other on a node of a cluster that runs both kinds, and takes the time from the
// binding to the first answer at the pod's address: of a Go guest, of busybox's httpd, and of the same httpd by bare calls
// to the same containerd, with the pod network of the same worker, that ask for just what the worker asked for.
func BenchmarkStart(b *testing.B) {
	n := startNode(b)
	first := true
	var took [3][]time.Duration
	for i := 0; b.Loop(); i++ {
		for k, start := range []func(context.Context, string) (time.Duration, error){n.wasmPod, n.containerPod, n.barePod} {
			d, err := start(b.Context(), fmt.Sprintf("bench-%d-%d", k, i))
			if err != nil {
				b.Fatal(err)
			}
			if !first { // the first pays for a runner and its template, and for unpacking
				took[k] = append(took[k], d)
			}
		}
		if first {
			first = false
			i--
		}
	}
	wasm, container, bare := medianTime(took[0]), medianTime(took[1]), medianTime(took[2])
	b.ReportMetric(container/wasm, "ratio")
	b.ReportMetric(container/bare, "share")
	b.ReportMetric(wasm, "wasm-us")
	b.ReportMetric(container, "container-us")
	b.ReportMetric(bare, "bare-calls-us")
	b.ReportMetric(max(0, between(took[1], took[2])), "petrels-own-us")
}

// between is the median of what the one took longer than the other did just before or after: what the machine is slow at
// for a while takes part in both.
func between(one, other []time.Duration) float64 {
	more := make([]time.Duration, min(len(one), len(other)))
	for i := range more {
		more[i] = one[i] - other[i]
	}
	return medianTime(more)
}

func medianTime(all []time.Duration) float64 {
	if len(all) == 0 {
		return 0
	}
	return float64(slices.Sorted(slices.Values(all))[len(all)/2].Microseconds())
}

// node is a cluster of one node that runs both kinds.
type node struct {
	client *kubernetes.Clientset
	lab    *lab.Node
	wasm   string // images
	bare   *side
	groups *confine.Groups // of the bare calls' pods
}

const (
	// containerImage is what containers are made of.
	containerImage = "bench.test/busybox:v1"
	// path is a file in it, which httpd serves.
	path = "/etc/passwd"
)

var httpd = []string{"/bin/busybox", "httpd", "-f", "-p", fmt.Sprint(port), "-h", "/"}

func startNode(b *testing.B) *node {
	b.Helper()
	tree, err := toolchain.Find()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := tree.Binaries(b.Context()); err != nil {
		b.Fatal(err)
	}
	nodes, err := cluster.StartNodes(b.Context(), cluster.Options{Dir: b.TempDir(), Binaries: tree.Bin(), Containers: 1}, 1, 1, func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := nodes.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	n := &node{lab: nodes.Lab.Nodes()[0]}
	if n.client, err = nodes.Cluster().Client(); err != nil {
		b.Fatal(err)
	}
	guest, err := tree.Guest(b.Context(), "plain", true)
	if err != nil {
		b.Fatal(err)
	}
	module, err := os.ReadFile(guest)
	if err != nil {
		b.Fatal(err)
	}
	if n.wasm, err = nodes.Cluster().Push(b.Context(), "bench/plain", module); err != nil {
		b.Fatal(err)
	}
	n.bareCalls(b, n.containerd(b))
	return n
}

// containerd finds the socket of the node's containerd and gives it the image.
func (n *node) containerd(b *testing.B) (socket string) {
	b.Helper()
	for _, p := range n.lab.Processes() {
		if found, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/run/petrel/*/cri.sock", p.PID)); err == nil && len(found) == 1 {
			socket = found[0]
		}
	}
	if socket == "" {
		b.Fatal("the node has no containerd")
	}
	tag, err := name.NewTag(containerImage)
	if err != nil {
		b.Fatal(err)
	}
	archive := filepath.Join(b.TempDir(), "image.tar")
	if err := tarball.WriteToFile(archive, tag, containerdtest.BusyboxImage(b, v1.Config{})); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.CommandContext(b.Context(), "ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
		b.Fatalf("import image: %v\n%s", err, out)
	}
	return socket
}

// bareCalls prepares the bare calls, by a pod of the worker's that they are like.
func (n *node) bareCalls(b *testing.B, socket string) {
	b.Helper()
	client, err := cri.New(cri.Config{Endpoint: socket})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	dir := filepath.Join(n.lab.Dir, "bare")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	var same *requests
	_, err = n.run(b.Context(), "model", n.container(), path, func(ctx context.Context) (err error) {
		if same, err = readRequests(ctx, socket); err != nil {
			return err
		}
		return same.adopt(b, dir)
	})
	if err != nil {
		b.Fatal(err)
	}
	n.groups = same.groups
	n.bare = &side{
		name: "bare calls", cri: client, dial: n.dial, path: path, container: same.container,
		sandbox: func(name string) *runtimev1.PodSandboxConfig { return same.named(name, dir) },
	}
}

// dial connects from the node, which alone reaches its pods.
func (n *node) dial(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return n.lab.Dial(ctx, to)
}

func (n *node) barePod(ctx context.Context, name string) (time.Duration, error) {
	began := time.Now()
	p, err := n.bare.start(ctx, name)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, errors.Join(n.bare.end(ctx, p), n.groups.Remove(types.UID(name)))
}

func (n *node) wasmPod(ctx context.Context, name string) (time.Duration, error) {
	return n.run(ctx, name, corev1.Container{Name: "main", Image: n.wasm, Ports: []corev1.ContainerPort{{ContainerPort: port}}}, "/", nil)
}

func (n *node) containerPod(ctx context.Context, name string) (time.Duration, error) {
	return n.run(ctx, name, n.container(), path, nil)
}

// container is what container pods have. It asks for as much as a control group weighs of itself.
func (n *node) container() corev1.Container {
	return corev1.Container{
		Name: "main", Image: containerImage, Command: httpd, ImagePullPolicy: corev1.PullNever,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
	}
}

// run creates a pod, takes the time from its binding to its first answer, and waits until nothing of it is left on the
// node. while is called when it runs.
func (n *node) run(ctx context.Context, name string, c corev1.Container, path string, while func(context.Context) error) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		// Without a grace period the API forgets the pod at once, and the node ends it beside the next measurement.
		Containers: []corev1.Container{c}, TerminationGracePeriodSeconds: ptr.To[int64](1), EnableServiceLinks: ptr.To(false),
	}}
	if _, err := pods.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	var bound time.Time
	for event := range w.ResultChan() {
		p, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok:
			return 0, fmt.Errorf("watch pod %s: %v", name, event.Object)
		case event.Type == "DELETED":
			return took, nil
		case bound.IsZero() && p.Spec.NodeName != "":
			bound = time.Now()
		}
		if took != 0 || p.Status.PodIP == "" {
			continue
		}
		s := &side{dial: n.dial, path: path}
		if err := s.answers(ctx, pod{address: p.Status.PodIP}); err != nil {
			return 0, err
		}
		took = time.Since(bound)
		if while != nil {
			if err := while(ctx); err != nil {
				return 0, err
			}
		}
		if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return 0, err
		}
	}
	return 0, errors.Join(ctx.Err(), fmt.Errorf("the watch of pod %s ended", name))
}
