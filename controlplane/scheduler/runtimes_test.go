package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

func handling(names ...string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.RuntimeHandlers = nil
		for _, name := range names {
			n.Status.RuntimeHandlers = append(n.Status.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: name})
		}
	}
}

func classed(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }
}

func imaged(image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }
}

func TestRuntimeHandlers(t *testing.T) {
	classes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
	for _, c := range []*nodev1.RuntimeClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "wasm"}, Handler: "wasm"},
		{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Handler: "crun"},
	} {
		if err := classes.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	wasm, both := handling("wasm"), handling("wasm", "", "runc", "crun")
	const module, elsewhere = api.RegistryHost + "/hello:1", "docker.io/library/nginx:1"
	for _, tc := range []struct {
		name       string
		node       func(*corev1.Node)
		pod        *corev1.Pod
		containers bool // some node of the cluster runs containers
		want       string
	}{
		{"a module goes anywhere", wasm, pod("p", imaged(module)), true, ""},
		{"an image from elsewhere may be a container", wasm, pod("p", imaged(elsewhere)), true, "node(s) ran no containers"},
		{"and goes where both run", both, pod("p", imaged(elsewhere)), true, ""},
		{"where there are none, it must be a module", wasm, pod("p", imaged(elsewhere)), false, ""},
		{"whose class says that it is", wasm, pod("p", imaged(elsewhere), classed("wasm")), true, ""},
		{"a handler that is there", both, pod("p", imaged(elsewhere), classed("fast")), true, ""},
		{"a handler that is not", wasm, pod("p", imaged(elsewhere), classed("fast")), true, `node(s) didn't have the runtime handler "crun"`},
		{"a node that does not tell", handling(), pod("p", imaged(elsewhere), classed("fast")), true, ""},
		{"no such class", both, pod("p", imaged(module), classed("none")), true, `RuntimeClass "none" not found`},
		{"an init container counts", wasm, pod("p", imaged(module), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: elsewhere}}
		}), true, "node(s) ran no containers"},
		{"a name that is empty is none", wasm, pod("p", imaged(module), func(p *corev1.Pod) { p.Spec.RuntimeClassName = ptr.To("") }), true, ""},
	} {
		object := node("n")
		tc.node(object)
		n := Node{Name: "n"}.describe(object)
		p := NewPod(tc.pod)
		p.runtime = runtimeOf(tc.pod, classes, func() bool { return tc.containers })
		reasons := filterRuntime(p, n, nil)
		if got := append(reasons, "")[0]; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestHandlersComeAndGo: a node that begins to run containers is another for pods that wait for one.
func TestHandlersComeAndGo(t *testing.T) {
	a, b := node("n"), node("n")
	handling("wasm")(a)
	handling("wasm", "")(b)
	if sameForScheduling(Node{}.describe(a), Node{}.describe(b)) {
		t.Error("it makes no difference")
	}
	if s := (&Snapshot{Nodes: []*Node{Node{}.describe(a)}}); s.runContainers() {
		t.Error("a node of Wasm alone runs containers")
	}
	if s := (&Snapshot{Nodes: []*Node{Node{}.describe(a), Node{}.describe(b)}}); !s.runContainers() {
		t.Error("no node runs containers")
	}
	a.Labels = map[string]string{"petrel.run/runtime-containerd": "true"} // its worker was started again
	if s := (&Snapshot{Nodes: []*Node{Node{}.describe(a)}}); !s.runContainers() {
		t.Error("a node that is to run containers runs none")
	}
}
