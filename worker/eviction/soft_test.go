package eviction

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestSoften(t *testing.T) {
	two, err := ParseThresholds("memory.available<1Gi,nodefs.available<10%")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Soften(two, " memory.available=1m30s, nodefs.available = 0s")
	want := []Threshold{
		{Signal: MemoryAvailable, Amount: 1 << 30, Soft: true, Grace: 90 * time.Second}, {Signal: NodeFSAvailable, Percent: 10, Soft: true},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if two[0].Soft {
		t.Error("what was given is changed")
	}
	if got, err := Soften(nil, ""); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for _, text := range []string{
		"", "memory.available=1m", "memory.available=1m,nodefs.available=1m,pid.available=1m", "memory.available=1m,nodefs.available=-1s",
		"memory.available=1m,nodefs.available", "memory.available=1m,nodefs.available=soon", "memory.available=1m,heat=1m",
		"memory.available=1m,memory.available=1m,nodefs.available=1m", "memory.available=1m,nodefs.available=1m,",
	} {
		if got, err := Soften(two, text); err == nil {
			t.Errorf("%q makes %v", text, got)
		}
	}
}

func FuzzSoften(f *testing.F) {
	f.Add("memory.available<1Gi", "memory.available=1m30s")
	f.Add("pid.available<1%,nodefs.available<1", "pid.available=0s,nodefs.available=1h")
	f.Fuzz(func(t *testing.T, thresholds, graces string) {
		list, err := ParseThresholds(thresholds)
		if err != nil {
			return
		}
		soft, err := Soften(list, graces)
		if err != nil {
			return
		}
		for i, s := range soft {
			if s.Signal != list[i].Signal || !s.Soft || s.Grace < 0 {
				t.Errorf("%q, %q: %+v", thresholds, graces, s)
			}
		}
	})
}

// softly is a node with plenty, that would rather have 200 MiB free than not.
func softly(grace time.Duration) *machine {
	x := plenty()
	x.soft = []Threshold{{Signal: MemoryAvailable, Amount: 200 * mib, Soft: true, Grace: grace}}
	return x
}

func TestSoftThresholdsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := softly(time.Minute)
		x.maxGrace = 20 * time.Second
		x.pods = []Candidate{candidate("a", 0, 0, 100*mib)}
		start(t, x)
		x.change(func() { x.memory.Available = 150 * mib })
		after(interval + time.Second)
		x.wants()
		if !x.m.Holds(corev1.NodeMemoryPressure) {
			t.Error("the condition waits for the grace period")
		}
		x.change(func() { x.memory.Available = 500 * mib })
		after(30 * time.Second)
		x.change(func() { x.memory.Available = 150 * mib })
		after(40 * time.Second) // more than a minute since the first time
		x.wants()
		after(20*time.Second + busyInterval + interval)
		x.wants("a")
		if x.graces[0] != 20*time.Second {
			t.Errorf("grace %v", x.graces[0])
		}
	})
}

// A hard threshold does not wait for a pod that takes its time.
func TestHardThresholdsOvertakeSoftOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := softly(0)
		x.slow, x.maxGrace = true, -1
		x.pods = []Candidate{candidate("a", 0, 0, 100*mib), candidate("b", 0, 0, 50*mib)}
		for i := range x.pods {
			x.pods[i].Grace = 10 * time.Minute
		}
		x.memory.Available = 150 * mib
		start(t, x)
		x.wants("a")
		after(10*time.Minute + patience - time.Second)
		x.wants("a") // it may take so long
		x.change(func() { x.memory.Available = 50 * mib })
		after(busyInterval)
		x.wants("a", "b")
		if x.graces[0] >= 0 || x.graces[1] != hardGrace {
			t.Errorf("graces %v", x.graces)
		}
	})
}

func TestMessage(t *testing.T) {
	memory, disk := corev1.ResourceMemory, corev1.ResourceEphemeralStorage
	share := func(name string, resource corev1.ResourceName, asked, takes int64) Share {
		s := Share{Name: name, Requests: map[corev1.ResourceName]int64{resource: asked}, Uses: map[corev1.ResourceName]int64{}}
		if takes >= 0 {
			s.Uses[resource] = takes
		}
		return s
	}
	for _, tt := range []struct {
		threshold  Threshold
		seen       Amount
		containers []Share
		want       string
	}{
		{Threshold{Signal: MemoryAvailable, Amount: 100 * mib}, Amount{1000 * mib, 52*mib + 7},
			[]Share{share("greedy", memory, 0, 1<<30), share("modest", memory, 10, 10), share("unmeasured", memory, 0, -1)},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. Container greedy was using 1Gi, request is 0, has larger consumption of memory."},
		{Threshold{Signal: NodeFSAvailable, Percent: 10}, Amount{1000 * mib, 1 * mib},
			[]Share{share("a", disk, 1<<10, 5*mib), share("b", disk, 0, 100)},
			"The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 1Mi. Container a was using 5Mi, request is 1Ki, has larger consumption of ephemeral-storage. " +
				"Container b was using 100, request is 0, has larger consumption of ephemeral-storage."},
		{Threshold{Signal: PIDAvailable, Percent: 10}, Amount{1000, 20}, []Share{share("a", memory, 0, 5)},
			"The node was low on resource: pids. Threshold quantity: 100, available: 20."},
	} {
		if got := message(tt.threshold, tt.seen, &Candidate{Containers: tt.containers}); got != tt.want {
			t.Errorf("message = %q\nwant      %q", got, tt.want)
		}
	}
}
