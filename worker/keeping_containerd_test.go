package worker

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/eviction"
)

// TestKeepsHouseOfContainers has the node keep house over a real containerd: what its containers take, whose logs are
// rotated while they are written, which of them has to go, and which images.
func TestKeepsHouseOfContainers(t *testing.T) {
	ctd := containerdtest.Start(t, containerdtest.Config{})
	ctd.ImportBusybox()
	const unused = "test.petrel.internal/unused:1"
	ctd.Import(unused, containerdtest.Image(t, v1.Config{Env: []string{"NOBODY=uses it"}}, map[string]containerdtest.File{"etc/x": {Content: []byte("x"), Mode: 0o644}}))
	n := newTestNode(t)
	n.stop()
	n.cfg.ContainerdEndpoint, n.cfg.CgroupRoot = ctd.Socket(), ctd.CgroupParent+"/node"
	n.cfg.Housekeeping = Housekeeping{LogSize: 4096, LogFiles: 1000, logInterval: 50 * time.Millisecond, Eviction: []eviction.Threshold{}}
	n.cfg.storageInterval = 100 * time.Millisecond
	n.start()

	n.create(shellPod("scribbler", "dd if=/dev/zero of=/scribble bs=1M count=4; sleep 1000", storageLimit("2Mi")))
	n.create(shellPod("talker", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done", critical))
	n.ready("talker")
	containerIsMeasured(n)
	noLineIsLost(n)
	// containerd measures layers every ten seconds.
	if p := n.phase("scribbler", corev1.PodFailed); p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi") {
		t.Errorf("status of the one that writes too much = %+v", p.Status)
	}

	n.stop() // the node finds what runs, and is short of everything
	n.cfg.Housekeeping.Eviction = []eviction.Threshold{{Signal: eviction.MemoryAvailable, Amount: beyond}, {Signal: eviction.NodeFSAvailable, Amount: beyond}}
	n.start()
	n.create(shellPod("sleeper", "sleep 1000"))
	p := n.phase("sleeper", corev1.PodFailed)
	if p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, "low on resource: memory") {
		t.Errorf("status = %+v", p.Status)
	}
	n.eventually("the unused image to go", func() bool {
		images, err := ctd.CRI.ListImages(t.Context())
		return err == nil && !slices.ContainsFunc(images, func(i *runtimev1.Image) bool { return slices.Contains(i.GetRepoTags(), unused) })
	})
	images, err := ctd.CRI.ListImages(t.Context())
	if err != nil || len(images) != 2 { // the one in use, and the sandboxes'
		t.Errorf("images = %v, %v", images, err)
	}
	if restarts(n.ready("talker")) != 0 {
		t.Error("the critical pod was restarted")
	}
}

// containerIsMeasured reads what a container of processes takes.
func containerIsMeasured(n *testNode) {
	n.Helper()
	n.eventually("the container's figures", func() bool {
		var s statsv1.Summary
		if err := json.Unmarshal([]byte(n.node("/stats/summary")), &s); err != nil {
			n.Fatal(err)
		}
		i := slices.IndexFunc(s.Pods, func(p statsv1.PodStats) bool { return p.PodRef.UID == "uid-talker" })
		if i < 0 {
			return false
		}
		p := s.Pods[i]
		return p.CPU.UsageCoreNanoSeconds != nil && *p.CPU.UsageCoreNanoSeconds > 0 && p.CPU.UsageNanoCores != nil &&
			p.Memory.WorkingSetBytes != nil && *p.Memory.WorkingSetBytes > 0 && p.EphemeralStorage.UsedBytes != nil && !p.Containers[0].StartTime.IsZero()
	})
}

// noLineIsLost reads the logs that were moved aside, and the one that goes on, as one.
func noLineIsLost(n *testNode) {
	n.Helper()
	dir := filepath.Join(n.cfg.RootDir, "logs", "pods", "default_talker_uid-talker", "main")
	n.eventually("three logs that were moved aside", func() bool { return len(n.glob(dir+"/0.log.*")) >= 3 })
	n.stop() // nothing is moved or compressed any more
	defer n.start()
	next := 1
	for _, name := range append(n.glob(dir+"/0.log.*"), dir+"/0.log") {
		for _, line := range logLines(n, name) {
			if want := fmt.Sprintf(" stdout F line %d", next); !strings.HasSuffix(line, want) {
				n.Fatalf("%s: %q, want%s", filepath.Base(name), line, want)
			}
			next++
		}
	}
	if next < 100 {
		n.Errorf("%d lines in all", next-1)
	}
}

// logLines are the whole lines of a log, unpacked.
func logLines(n *testNode, name string) []string {
	n.Helper()
	file, err := os.Open(name)
	if err != nil {
		n.Fatal(err)
	}
	defer file.Close()
	var in io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(file); err != nil {
			n.Fatal(err)
		}
	}
	var lines []string
	reader := bufio.NewReader(in)
	for {
		line, err := reader.ReadString('\n')
		if err == io.EOF {
			return lines // what has no end is being written
		}
		if err != nil {
			n.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}
