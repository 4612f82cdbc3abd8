package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func testConfig(t *testing.T, client *fake.Clientset) Config {
	return Config{
		Client: client, Name: "node-1", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, MaxPods: 11000, Version: "v1.37.2", Dir: t.TempDir(),
		Labels:         map[string]string{"zone": "a"},
		RuntimeVersion: func() string { return "fake://1" },
		Port:           func() int32 { return 4321 },
		Health:         func(context.Context) Health { return Health{Ready: true, Reason: "WorkerReady"} },
		Kept:           func(_, disk int64) (int64, int64) { return 100 << 20, disk / 20 },
		Pressure:       func(corev1.NodeConditionType) bool { return false },
		Logger:         slog.New(slog.DiscardHandler),
	}
}

// run runs the node in a bubble until the test's function returns.
func run(t *testing.T, cfg Config, test func()) {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	synctest.Wait()
	test()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func getNode(t *testing.T, client *fake.Clientset) *corev1.Node {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func ready(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return &corev1.NodeCondition{}
}

func TestRegistersAndKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"theirs": "kept"}}})
		run(t, testConfig(t, client), func() {
			node := getNode(t, client)
			for k, v := range map[string]string{"theirs": "kept", "zone": "a", LabelRuntime: "wasm", corev1.LabelHostname: "node-1"} {
				if node.Labels[k] != v {
					t.Errorf("label %s = %q, want %q", k, node.Labels[k], v)
				}
			}
			s := node.Status
			if s.DaemonEndpoints.KubeletEndpoint.Port != 4321 || len(s.Conditions) != 4 || ready(node).Status != corev1.ConditionTrue {
				t.Errorf("status = %+v", s)
			}
			if s.Capacity.Pods().Value() != 11000 || s.Allocatable.Memory().Cmp(*s.Capacity.Memory()) >= 0 || s.Capacity.Cpu().Value() < 1 {
				t.Errorf("capacity %v, allocatable %v", s.Capacity, s.Allocatable)
			}
			first := lease(t, client)
			time.Sleep(leaseInterval + time.Second)
			synctest.Wait()
			second := lease(t, client)
			if got := second.Sub(first); got != leaseInterval {
				t.Errorf("lease renewed after %v, want %v", got, leaseInterval)
			}
		})
	})
}

func lease(t *testing.T, client *fake.Clientset) time.Time {
	t.Helper()
	l, err := client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *l.Spec.LeaseDurationSeconds != 40 || *l.Spec.HolderIdentity != "node-1" {
		t.Errorf("lease = %+v", l.Spec)
	}
	return l.Spec.RenewTime.Time
}

func TestAnAPIThatIsAwayIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var away atomic.Bool
		away.Store(true)
		client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, errors.New("connection refused")
		})
		run(t, testConfig(t, client), func() {
			time.Sleep(time.Minute)
			away.Store(false)
			time.Sleep(retryMax + time.Second)
			synctest.Wait()
			getNode(t, client)
			lease(t, client)
		})
	})
}

func TestHealthIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var down atomic.Bool
		cfg := testConfig(t, client)
		cfg.Health = func(context.Context) Health {
			if down.Load() {
				return Health{Reason: "RuntimeNotReady", Message: "gone"}
			}
			return Health{Ready: true, Reason: "WorkerReady"}
		}
		run(t, cfg, func() {
			began := ready(getNode(t, client)).LastTransitionTime
			time.Sleep(time.Minute)
			if got := ready(getNode(t, client)).LastTransitionTime; !got.Equal(&began) {
				t.Errorf("transition moved from %v to %v", began, got)
			}
			before := patches(client)
			down.Store(true)
			time.Sleep(checkInterval)
			synctest.Wait()
			if c := ready(getNode(t, client)); c.Status != corev1.ConditionFalse || c.Message != "gone" || c.LastTransitionTime.Equal(&began) {
				t.Errorf("condition = %+v", c)
			}
			if sent := patches(client) - before; sent != 1 {
				t.Errorf("%d patches for one change", sent)
			}
		})
	})
}

func patches(client *fake.Clientset) int {
	n := 0
	for _, a := range client.Actions() {
		if a.Matches("patch", "nodes") {
			n++
		}
	}
	return n
}

// TestWhatOthersSetIsSetRight: the control plane may take a node that is back for silent a moment longer, and set its
// conditions to Unknown after the first report.
func TestWhatOthersSetIsSetRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		run(t, testConfig(t, client), func() {
			node := getNode(t, client).DeepCopy()
			for i := range node.Status.Conditions {
				node.Status.Conditions[i].Status = corev1.ConditionUnknown
			}
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: "Theirs", Status: corev1.ConditionTrue})
			if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(checkInterval + time.Second)
			synctest.Wait()
			if c := ready(getNode(t, client)); c.Status != corev1.ConditionTrue {
				t.Errorf("condition = %+v", c)
			}
			before := patches(client)
			time.Sleep(time.Minute)
			if sent := patches(client) - before; sent != 0 {
				t.Errorf("%d patches though nothing changed", sent)
			}
		})
	})
}

// TestAddresses has a node of two families whose addresses change with a restart.
func TestAddresses(t *testing.T) {
	client := fake.NewClientset()
	for _, addresses := range [][]string{{"10.0.0.1", "fd00::1"}, {"fd00::2", "10.0.0.2"}, {"10.0.0.3"}} {
		cfg := testConfig(t, client)
		cfg.Addresses = nil
		want := []corev1.NodeAddress{}
		for _, a := range addresses {
			cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(a))
			want = append(want, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		want = append(want, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "node-1"})
		synctest.Test(t, func(t *testing.T) {
			run(t, cfg, func() {
				time.Sleep(2 * time.Second)
				got, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
				if err != nil || !slices.Equal(got.Status.Addresses, want) {
					t.Errorf("addresses %v, %v; want %v", got.Status.Addresses, err, want)
				}
			})
		})
	}
}

func TestADeletedNodeIsRegisteredAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		run(t, testConfig(t, client), func() {
			if err := client.CoreV1().Nodes().Delete(t.Context(), "node-1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(reportInterval + time.Minute)
			synctest.Wait()
			if c := ready(getNode(t, client)); c.Status != corev1.ConditionTrue {
				t.Errorf("condition = %+v", c)
			}
		})
	})
}

func TestCapacity(t *testing.T) {
	cfg := testConfig(t, fake.NewClientset())
	m := &machine{cpus: 4, memory: 1 << 30, disk: 2000}
	capacity, allocatable := m.capacity(&cfg)
	if capacity.Cpu().Value() != 4 || capacity.Memory().Value() != 1<<30 || capacity.StorageEphemeral().Value() != 2000 || capacity.Pods().Value() != 11000 {
		t.Errorf("capacity = %v", capacity)
	}
	if allocatable.Cpu().Value() != 4 || allocatable.Memory().Value() != 1<<30-100<<20 || allocatable.StorageEphemeral().Value() != 1900 {
		t.Errorf("allocatable = %v", allocatable)
	}
	m.memory = 50 << 20 // less than what is kept
	if _, allocatable = m.capacity(&cfg); !allocatable.Memory().IsZero() {
		t.Errorf("allocatable = %v", allocatable)
	}
}

func TestPressureIsTold(t *testing.T) {
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		synctest.Test(t, func(t *testing.T) {
			client := fake.NewClientset()
			cfg := testConfig(t, client)
			cfg.Pressure = func(k corev1.NodeConditionType) bool { return k == kind }
			run(t, cfg, func() {
				for _, c := range getNode(t, client).Status.Conditions {
					want := corev1.ConditionFalse
					if c.Type == kind || c.Type == corev1.NodeReady {
						want = corev1.ConditionTrue
					}
					if c.Status != want || c.Reason == "" || c.Message == "" && c.Type != corev1.NodeReady {
						t.Errorf("under %s: %s is %s for %q: %q", kind, c.Type, c.Status, c.Reason, c.Message)
					}
				}
			})
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := testConfig(t, fake.NewClientset())
	for name, spoil := range map[string]func(*Config){
		"upper case": func(c *Config) { c.Name = "Node" }, "no name": func(c *Config) { c.Name = "" },
		"no pods": func(c *Config) { c.MaxPods = 0 }, "no client": func(c *Config) { c.Client = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
