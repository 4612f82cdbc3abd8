package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/worker/cri"
)

const (
	// killRounds is how often each of a node's processes is killed; killRoundsEnv asks for another number, and killSeedEnv
	// for the seed that a run has told.
	killRounds    = 2
	killRoundsEnv = "PETREL_KILL_ROUNDS"
	killSeedEnv   = "PETREL_KILL_SEED"
	// killApart is the most that passes between a pod's deletion and a kill, which is when most is under way, and
	// killRest the most between two rounds.
	killApart = 400 * time.Millisecond
	killRest  = 1500 * time.Millisecond
)

// killManifest is a Deployment of each kind: modules, containers, and pods of both.
const killManifest = `
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
        volumeMounts: [{name: v, mountPath: /v}]
      volumes: [{name: v, emptyDir: {medium: Memory}}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: both}
spec:
  replicas: 1
  selector: {matchLabels: {app: both}}
  template:
    metadata: {labels: {app: both}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: $PROBE
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
      - {name: side, image: $BOX, command: [box, serve, "127.0.0.1:9090", "beside the module"]}
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {selector: {app: both}, ports: [{port: 80, targetPort: 8080}]}
`

// killDeployments are those of the test, each with a Service of its name.
var killDeployments = []string{"shop", "web", "both"}

// TestKillAtRandom kills what runs a node's pods, one process after the other in an order and at moments that a seed decides, while
// pods come and go and their Services are asked: afterwards all pods are there, and of those that are deleted nothing stays.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	w, n := containersWorld(t, 1, cluster.Options{Containers: 1})
	w.apply(killManifest)
	w.apply(web)
	for _, name := range killDeployments {
		w.rollout(name)
	}
	k := newKiller(w, n)
	load := startKillLoad(w, n)
	for _, victim := range k.order() {
		k.round(victim)
	}
	for _, name := range killDeployments {
		w.rollout(name)
	}
	load.verify()
	k.leavesNothing()
}

// killer kills processes of the first node.
type killer struct {
	*world
	n    *cluster.Nodes
	node *lab.Node
	rng  *rand.Rand
}

func newKiller(w *world, n *cluster.Nodes) *killer {
	w.Helper()
	seed := uint64(time.Now().UnixNano())
	if asked := os.Getenv(killSeedEnv); asked != "" {
		var err error
		if seed, err = strconv.ParseUint(asked, 10, 64); err != nil {
			w.Fatalf("%s: %v", killSeedEnv, err)
		}
	}
	w.Logf("%s=%d", killSeedEnv, seed)
	return &killer{w, n, n.Lab.Nodes()[0], rand.New(rand.NewPCG(seed, 5))}
}

// victims are the kinds of processes that are killed; the worker is the lab's to kill, and to start again.
var victims = map[string]func(args []string) bool{
	lab.Worker:   nil,
	"containerd": func(args []string) bool { return filepath.Base(args[0]) == "containerd" },
	"shim":       isShim,
	"supervisor": func(args []string) bool { return isWasmrt(args, "serve") },
	"runner":     func(args []string) bool { return isWasmrt(args, "runner") },
}

func isShim(args []string) bool { return strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") }

// order has each kind of victim equally often.
func (k *killer) order() []string {
	k.Helper()
	rounds := killRounds
	if asked := os.Getenv(killRoundsEnv); asked != "" {
		var err error
		if rounds, err = strconv.Atoi(asked); err != nil || rounds < 1 {
			k.Fatalf("%s=%s: %v", killRoundsEnv, asked, err)
		}
	}
	var kinds, out []string
	for kind := range victims {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for range rounds {
		out = append(out, kinds...)
	}
	k.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// round has a pod replaced, and kills one process meanwhile.
func (k *killer) round(victim string) {
	k.Helper()
	time.Sleep(k.upTo(killRest))
	gone := k.deleteOne()
	time.Sleep(k.upTo(killApart))
	k.Logf("%s is deleted, %s is killed", gone, victim)
	if victim == lab.Worker {
		if err := errors.Join(k.node.Kill(k.Context(), lab.Worker), k.node.Restart(lab.Worker)); err != nil {
			k.Fatal(err)
		}
		return
	}
	match := victims[victim]
	pick := k.rng.Uint64()
	k.eventually("a "+victim+" to kill", func() error { // one that was killed before has to be started again
		all := k.node.Processes()
		var some []int
		for i, p := range all {
			if len(p.Args) > 0 && match(p.Args) {
				some = append(some, i)
			}
		}
		if len(some) == 0 {
			return errors.New("there is none")
		}
		killed, err := k.node.KillProcess(all[some[pick%uint64(len(some))]])
		if err == nil && !killed {
			err = errors.New("it ended by itself")
		}
		return err
	})
}

func (k *killer) upTo(most time.Duration) time.Duration {
	return time.Duration(k.rng.Int64N(int64(most)))
}

// deleteOne deletes one of the pods that are not being deleted yet, if there is any, and answers its name.
func (k *killer) deleteOne() string {
	k.Helper()
	pods := k.pods()
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	pick := k.rng.Uint64()
	if len(pods) == 0 {
		return "no pod"
	}
	p := pods[pick%uint64(len(pods))]
	if err := k.client.CoreV1().Pods(k.ns).Delete(k.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
		k.Fatal(err)
	}
	return p.Name
}

// killLoad asks each Deployment's Service all along.
type killLoad struct {
	*world
	stop     context.CancelFunc
	clients  sync.WaitGroup
	answered map[string]*atomic.Int64
	failed   atomic.Int64
	urls     map[string]string
	http     *http.Client
}

func startKillLoad(w *world, n *cluster.Nodes) *killLoad {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	l := &killLoad{world: w, stop: stop, answered: map[string]*atomic.Int64{}, urls: map[string]string{}, http: n.HTTP(0)}
	l.http.Timeout = 5 * time.Second // a request that a kill meets need not be waited for
	for _, name := range killDeployments {
		l.answered[name] = &atomic.Int64{}
		l.urls[name] = "http://" + w.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}") + ":80/"
	}
	for name, url := range l.urls {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if _, err := read(ctx, l.http, url); err == nil {
					l.answered[name].Add(1)
				} else {
					l.failed.Add(1) // its pods are deleted and killed
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	w.Cleanup(l.end)
	return l
}

func (l *killLoad) end() {
	l.stop()
	l.clients.Wait()
}

// verify ends the load, and has each Service answer once more.
func (l *killLoad) verify() {
	l.Helper()
	l.end()
	for name, n := range l.answered {
		if n.Load() == 0 {
			l.Errorf("%s never answered", name)
		}
		l.eventually(name+" to answer", func() error {
			_, err := read(l.Context(), l.http, l.urls[name])
			return err
		})
		l.Logf("%s answered %d times", name, n.Load())
	}
	l.Logf("%d requests failed", l.failed.Load())
}

// places are where a node keeps what it has of pods, in the kernel and on disk.
func (k *killer) places() []string {
	run := fmt.Sprintf("/proc/%d/root/run/petrel/*", k.n.Lab.State().Nodes[0].Place.Init)
	worker := filepath.Join(k.node.Dir, lab.Worker)
	return []string{
		run + "/state/io.containerd.runtime.v2.task/k8s.io/*", // bundles
		run + "/state/io.containerd.grpc.v1.cri/netns/*",
		run + "/state/io.containerd.grpc.v1.cri/sandboxes/*",
		run + "/state/io.containerd.grpc.v1.cri/containers/*",
		run + "/runc/k8s.io/*",
		worker + "/containerd/root/io.containerd.runtime.v2.task/k8s.io/*",
		worker + "/containerd/root/io.containerd.grpc.v1.cri/sandboxes/*",
		worker + "/containerd/root/io.containerd.grpc.v1.cri/containers/*",
		worker + "/worker/pods/*", worker + "/worker/logs/pods/*",
	}
}

// sandboxes are petrel-wasmrt's.
func (k *killer) sandboxes() (all []string) {
	k.Helper()
	client, err := cri.New(cri.Config{Endpoint: filepath.Join(k.node.Dir, lab.Worker, "wasmrt", "cri.sock")})
	if err != nil {
		k.Fatal(err)
	}
	defer client.Close()
	k.eventually("petrel-wasmrt to tell what it has", func() error { // it may just have been started
		found, err := client.ListPodSandbox(k.Context(), nil)
		all = nil
		for _, s := range found {
			all = append(all, "sandbox of petrel-wasmrt: "+s.GetMetadata().GetName())
		}
		return err
	})
	return all
}

// find answers what is in the places, and fails the test where there is nothing in one though pods run.
func (k *killer) find(running bool) []string {
	k.Helper()
	var all []string
	for _, pattern := range k.places() {
		found, err := filepath.Glob(pattern)
		if err != nil {
			k.Fatal(err)
		}
		if running && len(found) == 0 {
			k.Errorf("pods run, and there is nothing at %s", pattern)
		}
		all = append(all, found...)
	}
	modules := k.sandboxes()
	if running && len(modules) == 0 {
		k.Error("pods run, and petrel-wasmrt has none")
	}
	all = append(all, modules...)
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", k.n.Lab.State().Nodes[0].Place.Init))
	if err != nil {
		k.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+k.node.Dir+"/") { // volumes in memory
			all = append(all, line)
		}
	}
	for _, p := range k.node.Processes() {
		if len(p.Args) > 0 && (p.Args[0] == "box" || isShim(p.Args)) {
			all = append(all, fmt.Sprint(p))
		}
	}
	for _, args := range [][]string{{"route", "show", "table", "all", "proto", "112"}, {"neigh", "show", "nud", "permanent"}} {
		out, err := output(k.T, k.node, "", "ip", args...)
		if err != nil {
			k.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "dev ptl") {
				all = append(all, line)
			}
		}
	}
	return all
}

// leavesNothing deletes all, and looks for what stays of it: in the kernel, on disk, and among the processes.
func (k *killer) leavesNothing() {
	k.Helper()
	k.find(true)
	containersLeaveNothing(k.world, k.n)
	k.eventually("nothing to be left", func() error {
		if left := k.find(false); len(left) > 0 {
			return fmt.Errorf("this is:\n%s", strings.Join(left, "\n"))
		}
		return nil
	})
}
