package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service"
)

// nextHostPort begins below the ports that the kernel gives to whoever asks for any.
var nextHostPort atomic.Int32

// newHostPort is a port of 127.0.0.1 that no other test uses.
func newHostPort(t *testing.T) int32 {
	t.Helper()
	for {
		port := 27000 + nextHostPort.Add(1)
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		return port
	}
}

func withHostPort(port corev1.ContainerPort) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, port)
	}
}

// get asks for the page at a port of the machine.
func getAt(port int32) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return "refused"
		}
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// TestHostPorts lead to their pod as long as it is there, whatever becomes of the worker and the API.
func TestHostPorts(t *testing.T) {
	n := newTestNode(t)
	port := newHostPort(t)
	answers := func(want string) {
		t.Helper()
		n.eventually(fmt.Sprintf("port %d to say %q", port, want), func() bool { return getAt(port) == want })
	}
	n.create(testPod("p", "web", args(fmt.Sprint(port)), withHostPort(corev1.ContainerPort{ContainerPort: 8080, HostPort: port})))
	n.ready("p")
	answers("hello")
	n.away.Store(true)
	n.restart()
	answers("hello")
	n.away.Store(false)
	n.restart()
	n.followed()
	n.ready("p")
	answers("hello")
	n.delete("p", 0)
	n.gone("p")
	answers("refused")

	n.create(testPod("again", "web", args(fmt.Sprint(port)), withHostPort(corev1.ContainerPort{ContainerPort: 8080, HostPort: port})))
	n.ready("again")
	answers("hello")
	n.stop() // while the worker is away, all trace of the pod goes
	if err := n.client.CoreV1().Pods("default").Delete(t.Context(), "again", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(paths(n.cfg.RootDir).spec("uid-again")); err != nil {
		t.Fatal(err)
	}
	n.start()
	answers("refused")
}

// TestAHostPortIsOnePodsAtATime: who comes second is refused; who comes after one that ends waits for it.
func TestAHostPortIsOnePodsAtATime(t *testing.T) {
	n := newTestNode(t)
	port := newHostPort(t)
	wants := withHostPort(corev1.ContainerPort{ContainerPort: 8080, HostPort: port})
	n.create(testPod("first", "web", wants, func(p *corev1.Pod) {
		*p.Spec.TerminationGracePeriodSeconds = 3600
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
	}))
	n.ready("first")
	n.create(testPod("second", "web", withHostPort(corev1.ContainerPort{ContainerPort: 8080, HostPort: port, HostIP: "127.0.0.1"})))
	n.phase("second", corev1.PodFailed)
	status := n.get("second").Status
	if status.Reason != "NodePorts" || !strings.HasPrefix(status.Message, "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports") ||
		!strings.HasSuffix(status.Message, fmt.Sprintf("host port %d/TCP at 127.0.0.1 is pod default/first's", port)) {
		t.Errorf("it was refused for %s: %s", status.Reason, status.Message)
	}
	n.event("second", "NodePorts")
	n.create(testPod("datagrams", "web", withHostPort(corev1.ContainerPort{ContainerPort: 8080, HostPort: port, Protocol: corev1.ProtocolUDP})))
	n.ready("datagrams")
	n.restart()
	n.followed()
	n.ready("first")
	n.create(testPod("third", "web", wants)) // those that ran before the worker have theirs
	n.phase("third", corev1.PodFailed)
	n.delete("first", 3600)
	n.eventually("the pod to go on answering", func() bool { return getAt(port) == "hello" })
	n.create(testPod("next", "web", wants))
	n.event("next", eventFailedSandbox)
	n.delete("first", 0)
	n.gone("first")
	n.ready("next")
	n.eventually("the next pod's answer", func() bool { return getAt(port) == "hello" })
}

func TestAHostPortThatCannotBeServedIsTold(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("p", "idle", withHostPort(corev1.ContainerPort{ContainerPort: 80, HostPort: 80, Protocol: corev1.ProtocolSCTP})))
	n.ready("p")
	if e := n.event("p", eventHostPort); !strings.Contains(e.Message, "80/SCTP") {
		t.Errorf("the event says %q", e.Message)
	}
	n.create(testPod("six", "idle", withHostPort(corev1.ContainerPort{ContainerPort: 80, HostPort: 81, HostIP: "::1"})))
	n.ready("six")
	if e := n.event("six", eventHostPort); !strings.Contains(e.Message, "81/TCP at ::1") {
		t.Errorf("the event says %q", e.Message)
	}
}

func TestHostPortFrontends(t *testing.T) {
	pod := []netip.Addr{netip.MustParseAddr("10.42.0.3"), netip.MustParseAddr("fd42::3")}
	for _, tt := range []struct {
		port hostPort
		want string
	}{
		{hostPort{protocol: "TCP", port: 80, container: 8080}, "[0.0.0.0:80>10.42.0.3:8080 [::]:80>[fd42::3]:8080]"},
		{hostPort{ip: "0.0.0.0", protocol: "UDP", port: 53, container: 53}, "[0.0.0.0:53>10.42.0.3:53]"},
		{hostPort{ip: "::", protocol: "UDP", port: 53, container: 53}, "[[::]:53>[fd42::3]:53]"},
		{hostPort{ip: "192.0.2.1", protocol: "TCP", port: 80, container: 80}, "[192.0.2.1:80>10.42.0.3:80]"},
		{hostPort{ip: "::ffff:192.0.2.1", protocol: "TCP", port: 80, container: 80}, "[192.0.2.1:80>10.42.0.3:80]"},
		{hostPort{ip: "fd00::1", protocol: "TCP", port: 80, container: 80}, "[[fd00::1]:80>[fd42::3]:80]"},
		{hostPort{ip: "nonsense", protocol: "TCP", port: 80, container: 80}, "[]"},
		{hostPort{protocol: "SCTP", port: 80, container: 80}, "[]"},
	} {
		got := []string{}
		for _, f := range tt.port.frontends(pod) {
			got = append(got, f.Addr.String()+">"+f.Pod.String())
			if f.Protocol != tt.port.protocol {
				t.Errorf("%v has protocol %s", tt.port, f.Protocol)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%v is served at %v, want %s", tt.port, got, tt.want)
		}
	}
}

// noted is a server of host ports that writes down what it is told.
type noted struct {
	dropped []types.UID
}

func (n *noted) SetHostPorts(service.HostPorts)     {}
func (n *noted) DropHostPorts(uid types.UID)        { n.dropped = append(n.dropped, uid) }
func (n *noted) KeepHostPorts(func(types.UID) bool) {}

func TestHostPortsClash(t *testing.T) {
	has := hostPort{ip: "127.0.0.1", protocol: "TCP", port: 80}
	for _, tt := range []struct {
		other hostPort
		want  bool
	}{
		{hostPort{ip: "127.0.0.1", protocol: "TCP", port: 80}, true}, {hostPort{protocol: "TCP", port: 80}, true},
		{hostPort{ip: "0.0.0.0", protocol: "TCP", port: 80}, true}, {hostPort{ip: "::", protocol: "TCP", port: 80}, true},
		{hostPort{ip: "127.0.0.2", protocol: "TCP", port: 80}, false}, {hostPort{protocol: "UDP", port: 80}, false},
		{hostPort{protocol: "TCP", port: 81}, false},
	} {
		server := &noted{}
		h := &hostPorts{server: server, owners: map[types.UID]portOwner{}}
		if taken := h.hold(testPod("a", ""), []hostPort{has}); taken != nil {
			t.Fatal(taken)
		}
		taken := h.hold(testPod("b", ""), []hostPort{tt.other})
		if (taken != nil) != tt.want || taken != nil && (taken.uid != "uid-a" || taken.of != types.NamespacedName{Namespace: "default", Name: "a"}) {
			t.Errorf("%v beside %v: %v", tt.other, has, taken)
		}
		h.release("uid-a")
		if taken := h.hold(testPod("b", ""), []hostPort{tt.other}); taken != nil {
			t.Errorf("after its end: %v", taken)
		}
		h.release("uid-none")
		if !slices.Equal(server.dropped, []types.UID{"uid-a"}) {
			t.Errorf("dropped %v", server.dropped)
		}
	}
}

func TestHostPortsOfSidecarsCount(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	port := func(n int32) []corev1.ContainerPort { return []corev1.ContainerPort{{ContainerPort: n, HostPort: n}} }
	p := testPod("p", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(port(1), corev1.ContainerPort{ContainerPort: 9})
		p.Spec.InitContainers = []corev1.Container{{Name: "ends", Ports: port(2)}, {Name: "stays", Ports: port(3), RestartPolicy: &always}}
	})
	if got := fmt.Sprint(hostPortsOf(p)); got != "[3/TCP 1/TCP]" {
		t.Errorf("host ports are %s", got)
	}
}
