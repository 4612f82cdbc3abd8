package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

const (
	// shimKills is how often each process is killed, and shimPods how many pods there are meanwhile.
	shimKills, shimPods = 2, 3
	// shimKillSeed is the variable that asks for the seed that a run has told.
	shimKillSeed = "PETREL_KILL_SEED"
	// shimKillApart is the most that passes between the beginning of a pod's replacement and a kill.
	shimKillApart = 300 * time.Millisecond
)

// shimKilledAtRandom has pods replaced while containerd, our daemon, the runtime and its runner are killed in an order and at moments that
// a seed decides. A kubelet's loop has all pods run in the end; of those that are removed nothing stays.
func shimKilledAtRandom(t *testing.T, n *shimNode) {
	seed := uint64(time.Now().UnixNano())
	if asked := os.Getenv(shimKillSeed); asked != "" {
		var err error
		if seed, err = strconv.ParseUint(asked, 10, 64); err != nil {
			t.Fatalf("%s: %v", shimKillSeed, err)
		}
	}
	t.Logf("%s=%d", shimKillSeed, seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	k := &shimKubelet{n, n.task("count", "1000000")}
	k.allRun()
	var victims []string
	for range shimKills {
		victims = append(victims, "containerd", "daemon", "serve", "runner")
	}
	rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, victim := range victims {
		slot, apart, pick := rng.IntN(shimPods), time.Duration(rng.Int64N(int64(shimKillApart))), rng.Uint64()
		var replacing sync.WaitGroup
		replacing.Go(func() { _ = k.replace(slot) }) // whom the kill meets is asked again below
		time.Sleep(apart)
		t.Logf("pod %d is replaced, %s is killed", slot, victim)
		if !k.killOne(victim, pick) { // it was killed before, and nobody has needed it since
			replacing.Wait()
			k.allRun()
			k.until("there is a "+victim+" to kill", func() bool { return k.killOne(victim, pick) })
		}
		replacing.Wait()
	}
	k.allRun()
	for slot := range shimPods {
		k.until(fmt.Sprintf("pod %d is removed", slot), func() bool { return k.removeAll(slot) == nil })
	}
	k.until("nothing is left", func() bool { return len(k.left()) == 0 })
}

// shimKubelet does with containerd as a kubelet does: it asks again until all is as it should be.
type shimKubelet struct {
	*shimNode
	config *runtimev1.ContainerConfig
}

// allRun waits until all pods run.
func (k *shimKubelet) allRun() {
	k.t.Helper()
	for slot := range shimPods {
		k.until(fmt.Sprintf("pod %d runs", slot), k.comes(slot))
	}
}

// shimCall bounds a call of a kubelet's.
const shimCall = 30 * time.Second

func slotName(slot int) string { return "slot-" + strconv.Itoa(slot) }

func (k *shimKubelet) sandboxes(ctx context.Context, slot int) ([]*runtimev1.PodSandbox, error) {
	return k.CRI.ListPodSandbox(ctx, &runtimev1.PodSandboxFilter{LabelSelector: map[string]string{"io.kubernetes.pod.name": slotName(slot)}})
}

// comes has a slot's pod run: it is true when there is one, and it goes on printing.
func (k *shimKubelet) comes(slot int) func() bool {
	return func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), shimCall)
		defer cancel()
		all, err := k.sandboxes(ctx, slot)
		if err != nil {
			return false
		}
		if len(all) == 1 && k.runs(ctx, all[0]) {
			return true
		}
		if k.removeAll(slot) == nil {
			_ = k.run(ctx, slot) // the next look tells
		}
		return false
	}
}

// runs tells whether a sandbox's container prints.
func (k *shimKubelet) runs(ctx context.Context, s *runtimev1.PodSandbox) bool {
	all, err := k.CRI.ListContainers(ctx, &runtimev1.ContainerFilter{PodSandboxId: s.GetId()})
	if err != nil || len(all) != 1 || all[0].GetState() != runtimev1.ContainerState_CONTAINER_RUNNING || s.GetState() != runtimev1.PodSandboxState_SANDBOX_READY {
		return false
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(k.LogDir, s.GetLabels()["io.kubernetes.pod.uid"], "c.log"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	for deadline := time.Now().Add(5 * time.Second); size() == before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func (k *shimKubelet) run(ctx context.Context, slot int) error {
	sandbox := k.Sandbox(slotName(slot))
	id, err := k.CRI.RunPodSandbox(ctx, sandbox, "wasm")
	if err != nil {
		return err
	}
	c, err := k.CRI.CreateContainer(ctx, id, k.config, sandbox)
	if err == nil {
		err = k.CRI.StartContainer(ctx, c)
	}
	return err
}

func (k *shimKubelet) replace(slot int) error {
	ctx, cancel := context.WithTimeout(context.Background(), shimCall)
	defer cancel()
	return errors.Join(k.removeAll(slot), k.run(ctx, slot))
}

// removeAll removes a slot's pods.
func (k *shimKubelet) removeAll(slot int) error {
	ctx, cancel := context.WithTimeout(context.Background(), shimCall)
	defer cancel()
	all, err := k.sandboxes(ctx, slot)
	for _, s := range all {
		if err = k.CRI.StopPodSandbox(ctx, s.GetId()); err == nil {
			err = k.CRI.RemovePodSandbox(ctx, s.GetId())
		}
		if err != nil {
			return err
		}
	}
	return err
}

// killOne kills one of the node's processes of a kind; false where there is none.
func (k *shimKubelet) killOne(victim string, pick uint64) bool {
	k.t.Helper()
	is := func(pid string) bool { return strings.Contains(commandLine(pid), " "+victim+" ") }
	pids := k.processes()
	if victim == "containerd" {
		is = func(pid string) bool { return strings.Contains(commandLine(pid), " --config "+k.Dir+"/") }
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			k.t.Fatal(err)
		}
		pids = nil
		for _, dir := range all {
			pids = append(pids, filepath.Base(dir))
		}
	}
	pids = slices.DeleteFunc(pids, func(pid string) bool { return !is(pid) })
	if len(pids) == 0 {
		return false
	}
	pid := pids[pick%uint64(len(pids))]
	number, err := strconv.Atoi(pid)
	if err != nil {
		k.t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(number, 0)
	if err != nil {
		return false // it has ended
	}
	defer unix.Close(fd)
	return is(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// left is what there is of containers.
func (k *shimKubelet) left() []string {
	k.t.Helper()
	var left []string
	for _, pattern := range []string{
		k.Dir + "/s/state/io.containerd.runtime.v2.task/k8s.io/*", k.Dir + "/r/root/io.containerd.runtime.v2.task/k8s.io/*",
		k.Dir + "/s/state/io.containerd.grpc.v1.cri/*/*", k.shimNode.run + "/*/io/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			k.t.Fatal(err)
		}
		left = append(left, found...)
	}
	runtime, err := cri.New(cri.Config{Endpoint: k.shimNode.run + "/wasmrt.sock"})
	if err != nil {
		k.t.Fatal(err)
	}
	defer runtime.Close()
	if all, err := runtime.ListPodSandbox(context.Background(), nil); err == nil { // else it has ended, as it does without pods
		for _, s := range all {
			left = append(left, s.GetId())
		}
	}
	return left
}
