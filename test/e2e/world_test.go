package e2e

import (
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/test/cluster"
)

// patience bounds every single wait. It says "broken", not "slow".
const patience = 3 * time.Minute

// guests are the tests' own programs in test/guests; true: an HTTP guest.
var guests = map[string]bool{"probe": true, "hostile": true, "task": false}

// world is what one test sees: a cluster and, in it, a namespace that is the test's alone.
type world struct {
	*testing.T
	cluster *cluster.Cluster
	client  *kubernetes.Clientset
	k       cluster.Kubectl
	ns      string
}

// newWorld makes a namespace in the shared cluster and runs the test beside others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return worldIn(t, sharedCluster(t))
}

// worldIn makes a namespace named after the test in a cluster.
func worldIn(t *testing.T, c *cluster.Cluster) *world {
	t.Helper()
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, cluster: c, client: client, ns: folderName(t)}
	w.k = c.Kubectl(suite.kubectl, w.ns)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatalf("make the test's namespace: %v", err)
	}
	t.Cleanup(w.leave)
	return w
}

// leave tells the state of a test that failed and gives its pods' memory back.
func (w *world) leave() {
	if w.Failed() {
		w.dump()
	}
	err := w.client.CoreV1().Namespaces().Delete(context.Background(), w.ns, metav1.DeleteOptions{})
	if err != nil && !w.Failed() && !strings.Contains(err.Error(), "not found") {
		w.Errorf("delete the test's namespace: %v", err)
	}
}

// dump prints what someone who reads a failure asks for first.
func (w *world) dump() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods,deployments,replicasets,jobs,services,endpointslices", "-o", "wide"},
		{"describe", "pods"},
		{"events"},
	} {
		out, err := w.k.Run(ctx, "", args...)
		if err != nil {
			out = err.Error()
		}
		w.Logf("--- kubectl %s\n%s", strings.Join(args, " "), out)
	}
	for _, path := range w.cluster.LogPaths() {
		w.Logf("--- the end of %s\n%s", path, cluster.Tail(path, 60))
	}
}

// kubectl runs kubectl in the test's namespace and answers what it prints.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	return w.kubectlIn("", args...)
}

// kubectlIn is kubectl with standard input, for `-f -`.
func (w *world) kubectlIn(stdin string, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	out, err := w.k.Run(ctx, stdin, args...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// kubectlFails runs a kubectl that must fail and answers what it prints.
func (w *world) kubectlFails(args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	out, err := w.k.Run(ctx, "", args...)
	if err == nil {
		w.Fatalf("kubectl %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return err.Error()
}

// apply applies manifests in which $PROBE and $TASK stand for the guests' images, $BOX for the containers'.
func (w *world) apply(manifest string, args ...string) string {
	w.Helper()
	return w.kubectlIn(w.fill(manifest), append([]string{"apply", "-f", "-"}, args...)...)
}

func (w *world) fill(manifest string) string {
	w.Helper()
	for name := range guests {
		if variable := "$" + strings.ToUpper(name); strings.Contains(manifest, variable) {
			manifest = strings.ReplaceAll(manifest, variable, w.image(name))
		}
	}
	return strings.ReplaceAll(manifest, "$BOX", boxImage)
}

// rollout waits until a Deployment is rolled out.
func (w *world) rollout(name string) {
	w.Helper()
	w.kubectl("rollout", "status", "deployment/"+name, "--timeout="+patience.String())
}

// comes waits until what kubectl prints matches an expression, in which ^ and $ are the ends of a line.
func (w *world) comes(expression string, args ...string) {
	w.Helper()
	want := regexp.MustCompile("(?m)" + expression)
	w.eventually("kubectl "+strings.Join(args, " "), func() error {
		if out := w.kubectl(args...); !want.MatchString(out) {
			return &missing{what: "match of " + expression, in: out}
		}
		return nil
	})
}

// background is for cleanups, where the test's own context has ended.
func (w *world) background() context.Context { return context.Background() }

// eventually waits for a condition.
func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	if err := cluster.Until(w.Context(), patience, what, condition); err != nil {
		w.Fatal(err)
	}
}

// images remembers what is in which cluster's registry.
var images sync.Map // "API address, guest" → image name

// image answers the image name of a guest, pushed to this cluster's registry.
func (w *world) image(name string) string {
	w.Helper()
	key := w.cluster.State.API + " " + name
	if image, ok := images.Load(key); ok {
		return image.(string)
	}
	image, err := w.cluster.Push(w.Context(), "e2e/"+name, w.module(name))
	if err != nil {
		w.Fatal(err)
	}
	images.Store(key, image)
	return image
}

// module answers the bytes of a guest.
func (w *world) module(name string) []byte {
	w.Helper()
	data, err := os.ReadFile(w.modulePath(name))
	if err != nil {
		w.Fatal(err)
	}
	return data
}

func (w *world) modulePath(name string) string {
	w.Helper()
	path, err := suite.tree.Guest(context.Background(), name, guests[name])
	if err != nil {
		w.Fatal(err)
	}
	return path
}

// folderName makes a test's name a DNS label.
func folderName(t *testing.T) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	return "e2e-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
}
