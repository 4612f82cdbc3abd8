package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/test/cluster"
)

// TestKillEachProcess kills petrel, the supervisor, a runner, and all of them, each with SIGKILL and while a client
// writes. Every object that was acknowledged must be there afterwards, every pod must run, and the apps must answer.
func TestKillEachProcess(t *testing.T) {
	t.Parallel()
	w := worldIn(t, ownCluster(t))
	w.apply(strings.ReplaceAll(web, "replicas: 2", "replicas: 3"))
	w.rollout("web")
	hello := w.deploy("hello", w.modulePath("probe"), 201)
	w.becomes(w.appURL("web"), 200, "probe one")
	writer := startWriter(w)
	follower := startInformer(w)

	t.Run("petrel", func(t *testing.T) { killPetrel(w.in(t), hello.URL) })
	t.Run("supervisor", func(t *testing.T) { killSupervisor(w.in(t), hello.URL) })
	t.Run("runner", func(t *testing.T) { killRunner(w.in(t), hello.URL) })
	t.Run("everything", func(t *testing.T) { killEverything(w.in(t), hello.URL) })

	writer.stop()
	writer.verify(w)
	follower.verify(w)
	equal(t, "version of the app after all that", w.deploy("hello", w.modulePath("probe"), 200).Version, 1)
}

// in is the same world for a subtest.
func (w *world) in(t *testing.T) *world {
	sub := *w
	sub.T = t
	t.Cleanup(func() {
		if t.Failed() {
			sub.dump()
		}
	})
	return &sub
}

// killPetrel: pods outlive it, answer while it is dead, and are the same ones, never restarted, when it is back.
func killPetrel(w *world, url string) {
	before := identities(w)
	pods := podURLs(w)
	runners := runnerPIDs(w)
	w.kill(w.cluster.State.PID)
	if _, err := fetch(w.Context(), w.cluster.State.API+"/readyz"); err == nil {
		w.Error("the API answers though petrel is dead")
	}
	for _, pod := range pods {
		w.get(pod, 200)
	}
	w.restart()
	w.settled(url)
	if after := identities(w); !slices.Equal(before, after) {
		w.Errorf("pods were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if now := runnerPIDs(w); !slices.Equal(runners, now) {
		w.Errorf("runners were %v and are %v", runners, now)
	}
}

// killSupervisor: petrel starts another, which adopts the runners.
func killSupervisor(w *world, url string) {
	before := identities(w)
	pods := podURLs(w)
	old := supervisorPIDs(w)
	runners := runnerPIDs(w)
	w.kill(old...)
	for _, pod := range pods {
		w.get(pod, 200)
	}
	w.eventually("petrel to start another supervisor", func() error {
		now, err := w.cluster.Supervisors()
		if err != nil || len(now) != 1 || now[0].PID == old[0] {
			return fmt.Errorf("it was %v and is %v, %v", old, now, err)
		}
		return nil
	})
	w.settled(url)
	if now := runnerPIDs(w); !slices.Equal(runners, now) {
		w.Errorf("runners were %v and are %v", runners, now)
	}
	// New work must be possible, not only old work left alone.
	w.kubectl("scale", "deployment/web", "--replicas=4")
	w.rollout("web")
	w.kubectl("scale", "deployment/web", "--replicas=3")
	w.rollout("web")
	w.eventually("the surplus pod to be gone", func() error {
		if n := count(w, "get", "pods", "-l", "app=web", "-o", "name"); n != 3 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	after := identities(w)
	kept := slices.DeleteFunc(slices.Clone(after), func(id string) bool { return !slices.Contains(before, id) })
	if len(kept) < len(before)-1 { // scaling down may have taken any one
		w.Errorf("pods were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// killRunner: its containers have died, so they are started again in another runner; the pods stay.
func killRunner(w *world, url string) {
	w.kill(runnerPIDs(w)...)
	w.eventually("the containers to be started again", func() error {
		for _, pod := range w.pods() {
			if pod.DeletionTimestamp == nil && pod.Status.ContainerStatuses[0].RestartCount == 0 {
				return fmt.Errorf("%s has not been restarted", pod.Name)
			}
		}
		return nil
	})
	w.settled(url)
}

// killEverything, as when the machine loses power, but for the disk.
func killEverything(w *world, url string) {
	all, err := w.cluster.Processes()
	if err != nil {
		w.Fatal(err)
	}
	var pids []int
	for _, p := range all {
		pids = append(pids, p.PID)
	}
	if len(pids) < 3 {
		w.Fatalf("only %v were running", all)
	}
	w.kill(pids...)
	w.restart()
	w.settled(url)
}

func (w *world) kill(pids ...int) {
	w.Helper()
	if err := w.cluster.Kill(w.Context(), pids...); err != nil {
		w.Fatal(err)
	}
}

func (w *world) restart() {
	w.Helper()
	began := time.Now()
	if err := w.cluster.Up(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.Logf("ready again after %s", time.Since(began).Round(time.Millisecond))
}

// settled waits until the node is ready, every pod runs, and both apps answer.
func (w *world) settled(url string) {
	w.Helper()
	w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")
	w.rollout("web")
	w.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=150s")
	w.becomes(w.appURL("web"), 200, "probe one")
	w.becomes(url, 200, "probe")
	for _, pod := range podURLs(w) {
		w.becomes(pod, 200, "probe")
	}
}

func (w *world) pods() []corev1.Pod {
	w.Helper()
	return parse[corev1.PodList](w, w.kubectl("get", "pods", "-o", "json")).Items
}

// identities names each pod, its address and its container, sorted: equal before and after means nothing was started
// again.
func identities(w *world) []string {
	w.Helper()
	var out []string
	for _, pod := range w.pods() {
		status := pod.Status.ContainerStatuses[0]
		out = append(out, fmt.Sprintf("%s %s %s restarts=%d", pod.Name, pod.Status.PodIP, status.ContainerID, status.RestartCount))
	}
	slices.Sort(out)
	return out
}

func podURLs(w *world) []string {
	w.Helper()
	var out []string
	for _, pod := range w.pods() {
		if pod.DeletionTimestamp == nil { // one that ends may be listed for a while
			out = append(out, "http://"+pod.Status.PodIP+":8080/")
		}
	}
	return out
}

func runnerPIDs(w *world) []int {
	w.Helper()
	return pids(w, w.cluster.Runners)
}

func supervisorPIDs(w *world) []int {
	w.Helper()
	return pids(w, w.cluster.Supervisors)
}

func pids(w *world, list func() ([]cluster.Found, error)) []int {
	w.Helper()
	found, err := list()
	if err != nil || len(found) == 0 {
		w.Fatalf("processes: %v, %v", found, err)
	}
	var out []int
	for _, p := range found {
		out = append(out, p.PID)
	}
	slices.Sort(out)
	return out
}

// writer creates objects without a pause, deletes every third, and keeps what the API acknowledged.
type writer struct {
	wg     sync.WaitGroup
	cancel context.CancelFunc

	there, gone []string // acknowledged
	failures    int      // while a process was dead
}

func startWriter(w *world) *writer {
	ctx, cancel := context.WithCancel(w.Context())
	wr := &writer{cancel: cancel}
	wr.wg.Go(func() { wr.run(ctx, w.client, w.ns) })
	return wr
}

func (wr *writer) run(ctx context.Context, client kubernetes.Interface, namespace string) {
	api := client.CoreV1().ConfigMaps(namespace)
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("ack-%06d", i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": fmt.Sprint(i)}}
		if _, err := api.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			wr.failures++
			time.Sleep(20 * time.Millisecond)
			continue // whether it was written is not known, and nothing was promised
		}
		if i%3 != 0 {
			wr.there = append(wr.there, name)
		} else if err := api.Delete(ctx, name, metav1.DeleteOptions{}); err == nil {
			wr.gone = append(wr.gone, name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (wr *writer) stop() {
	wr.cancel()
	wr.wg.Wait()
}

// verify asks for every acknowledged object.
func (wr *writer) verify(w *world) {
	w.Helper()
	list, err := w.client.CoreV1().ConfigMaps(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	have := map[string]string{}
	for _, item := range list.Items {
		have[item.Name] = item.Data["n"]
	}
	for _, name := range wr.there {
		if fmt.Sprintf("ack-%06s", have[name]) != name {
			w.Errorf("%s was acknowledged and is %q", name, have[name])
		}
	}
	for _, name := range wr.gone {
		if _, there := have[name]; there {
			w.Errorf("the deletion of %s was acknowledged and it is there", name)
		}
	}
	if len(wr.there) < 100 || wr.failures == 0 {
		w.Errorf("%d writes were acknowledged and %d failed: the kills did not meet the writes", len(wr.there), wr.failures)
	}
	w.Logf("%d creations and %d deletions were acknowledged, %d failed during kills", len(wr.there), len(wr.gone), wr.failures)
	if _, err := w.client.CoreV1().ConfigMaps(w.ns).Get(w.Context(), "never-made", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		w.Errorf("an object that never was: %v", err)
	}
}

// TestStopLeavesNothing ends a cluster by Ctrl-C and starts it again: no process stays, no state goes.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	w := worldIn(t, ownCluster(t))
	w.apply(web)
	w.rollout("web")
	if err := w.cluster.Interrupt(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := w.cluster.Processes()
	if err != nil || len(left) != 0 {
		t.Errorf("after Ctrl-C: %v, %v", left, err)
	}
	w.restart()
	w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
}
