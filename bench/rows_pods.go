package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	manyPods = 1000
	// podAskers ask new pods for their first answer while the others still start.
	podAskers = 4
)

func podRows() []row {
	return []row{
		{
			name: "pods/scale-1000", direction: table.AtLeast, bar: 0.1, measure: scaleRow,
			what: "Pods per second from `kubectl scale` of a Deployment of a Go guest from 0 to 1,000 until every pod is ready and has answered a\n" +
				"request at its own address, divided by pods per second that 16 callers create through the API on the same cluster, where\n" +
				"nothing schedules or runs them. A running pod takes at least three writes where a created one takes one, and those were\n" +
				"made by 16 at once. containerd with crun starts 13.6 pods per second on such a machine.",
		},
		{
			name: "pods/memory-per-pod", direction: table.AtMost, bar: 12, measure: memoryRow,
			what: "Memory of all processes together that each pod beyond the first costs, divided by what a net/http server with a listener of its\n" +
				"own costs in a process that has a thousand. The pod's object is in etcd, in the watch cache and in the informers of the\n" +
				"worker, the scheduler and the controllers: a dozen times a listener is room for all those and for a sandbox, a container\n" +
				"and a log file, and for no instance.",
		},
	}
}

// scaled is what scaling up once showed.
type scaled struct {
	podsPerSecond, createdPerSecond float64
	allReady, allAnswered           time.Duration
	memoryPerPod                    float64 // KiB
	before, after                   memory
	listener                        float64 // KiB that each of the baseline's listeners takes
}

func scaleRow(ctx context.Context, l *lab) (m measurement, err error) {
	s, err := l.scale(ctx)
	if err != nil {
		return m, err
	}
	m.value = s.podsPerSecond / s.createdPerSecond
	m.note("%d pods: all ready after %.2f s, all answered after %.2f s: %.1f pods/s", manyPods, s.allReady.Seconds(), s.allAnswered.Seconds(), s.podsPerSecond)
	m.note("pods created through the API and left alone: %.0f per s", s.createdPerSecond)
	return m, nil
}

func memoryRow(ctx context.Context, l *lab) (m measurement, err error) {
	s, err := l.scale(ctx)
	if err != nil {
		return m, err
	}
	m.value = s.memoryPerPod / s.listener
	m.note("%.1f KiB a pod: all processes together have %.1f MiB with one pod, %.1f MiB with %d", s.memoryPerPod, s.before.PSS/1024, s.after.PSS/1024, manyPods)
	m.note("a net/http server with a listener of its own: %.1f KiB", s.listener)
	return m, nil
}

// scale measures once for the rows that draw on it.
func (l *lab) scale(ctx context.Context) (*scaled, error) {
	if l.scaled != nil {
		return l.scaled, nil
	}
	s := &scaled{}
	err := l.withCluster(ctx, []string{"--max-pods", fmt.Sprint(manyPods + 100)}, func(c *cluster.Cluster) error {
		if err := l.runGuest(ctx, c, "many", probeGuest, 1); err != nil { // compiles the module
			return err
		}
		if err := s.measureMemory(ctx, c, &s.before); err != nil {
			return err
		}
		if err := l.scaleTo(ctx, c, 0); err != nil {
			return err
		}
		if err := available(ctx, c, "many", 0); err != nil {
			return err
		}
		if err := s.measureScale(ctx, l, c); err != nil {
			return err
		}
		if err := s.measureMemory(ctx, c, &s.after); err != nil {
			return err
		}
		s.memoryPerPod = (s.after.PSS - s.before.PSS) / (manyPods - 1)
		return s.measureCreation(ctx, c)
	})
	if err == nil {
		s.listener, err = l.listenerMemory(ctx)
	}
	if err != nil {
		return nil, err
	}
	l.scaled = s
	return s, nil
}

// scaleTo scales with the real kubectl, as the row's name promises.
func (l *lab) scaleTo(ctx context.Context, c *cluster.Cluster, replicas int) error {
	path, err := l.tree.Kubectl(ctx)
	if err != nil {
		return err
	}
	_, err = c.Kubectl(path, "default").Run(ctx, "", "scale", "deployment/many", fmt.Sprintf("--replicas=%d", replicas))
	return err
}

func (s *scaled) measureScale(ctx context.Context, l *lab, c *cluster.Cluster) (err error) {
	s.allReady, s.allAnswered, err = l.rise(ctx, c, manyPods)
	s.podsPerSecond = manyPods / s.allAnswered.Seconds()
	return err
}

// rise scales a Deployment from 0 to n pods and tells when all were ready and when each had answered once.
func (l *lab) rise(ctx context.Context, c *cluster.Cluster, n int) (allReady, allAnswered time.Duration, err error) {
	client, err := c.Client()
	if err != nil {
		return 0, 0, err
	}
	list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=many"})
	if err != nil {
		return 0, 0, err
	}
	w, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{LabelSelector: "app=many", ResourceVersion: list.ResourceVersion})
	if err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	addresses := make(chan string, n)
	var wg sync.WaitGroup
	errs := make(chan error, podAskers)
	for range podAskers {
		wg.Go(func() { errs <- askPods(ctx, addresses) })
	}
	began := time.Now()
	err = l.scaleTo(ctx, c, n)
	if err == nil {
		err = readyPods(ctx, w, addresses, n)
	}
	allReady = time.Since(began)
	close(addresses)
	wg.Wait()
	allAnswered = time.Since(began)
	for range podAskers {
		if e := <-errs; err == nil {
			err = e
		}
	}
	return allReady, allAnswered, err
}

// readyPods sends the address of each pod on, once, when it is ready, until all have been.
func readyPods(ctx context.Context, w watch.Interface, addresses chan<- string, n int) error {
	seen := map[string]bool{}
	for len(seen) < n {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch was cut after %d ready pods", len(seen))
			}
			if pod, ok := event.Object.(*corev1.Pod); ok && ready(pod) && pod.DeletionTimestamp == nil && !seen[pod.Name] {
				seen[pod.Name] = true
				addresses <- pod.Status.PodIP
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods are ready: %w", len(seen), n, ctx.Err())
		}
	}
	return nil
}

// askPods asks each pod once.
func askPods(ctx context.Context, addresses <-chan string) (err error) {
	for address := range addresses {
		url := "http://" + net.JoinHostPort(address, fmt.Sprint(guestPort)) + "/"
		if _, e := request(ctx, http.MethodGet, url, "", nil, http.StatusOK); err == nil {
			err = e
		}
	}
	return err
}

func (s *scaled) measureMemory(ctx context.Context, c *cluster.Cluster, into *memory) error {
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	processes, err := c.Processes()
	if err != nil {
		return err
	}
	var pids []int
	for _, p := range processes {
		pids = append(pids, p.PID)
	}
	*into, err = total(pids)
	return err
}

func (s *scaled) measureCreation(ctx context.Context, c *cluster.Cluster) (err error) {
	s.createdPerSecond, err = createLeftAlone(ctx, c, manyPods)
	return err
}

// createLeftAlone answers the pods per second that are created when they name a scheduler which does not exist, so that
// nothing but the API works on them.
func createLeftAlone(ctx context.Context, c *cluster.Cluster, n int) (float64, error) {
	client, err := c.Client()
	if err != nil {
		return 0, err
	}
	template := deployment("left-alone", "registry.petrel.internal/bench/absent:v1", 0).Spec.Template
	return each(ctx, n, apiCallers, func(i int) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("left-alone-%05d", i), Labels: template.Labels}, Spec: *template.Spec.DeepCopy()}
		pod.Spec.SchedulerName = "nobody"
		_, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
}

// listenerMemory answers the KiB that each further listener of a plain server takes.
func (l *lab) listenerMemory(ctx context.Context) (float64, error) {
	measure := func(more int) (float64, error) {
		b, err := l.startBaseline(ctx, "-more", fmt.Sprint(more))
		if err != nil {
			return 0, err
		}
		defer b.stop()
		m, err := memoryOf(b.pid())
		return m.PSS, err
	}
	one, err := measure(0)
	if err != nil {
		return 0, err
	}
	many, err := measure(manyPods)
	return (many - one) / manyPods, err
}
