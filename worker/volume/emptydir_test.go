package volume

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

func inMemoryPod(limit string) *corev1.Pod {
	e := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if limit != "" {
		e.SizeLimit = ptr.To(resource.MustParse(limit))
	}
	return podWith(map[string]corev1.VolumeSource{"m": {EmptyDir: e}})
}

func TestEmptyDirInMemory(t *testing.T) {
	dir := needMounts(t)
	p, m := inMemoryPod("1Mi"), &Maker{}
	var host Host
	for range 2 { // the second finds it mounted
		var err error
		if host, err = m.Make(t.Context(), p, dir+"/volumes", env.Facts{}); err != nil {
			t.Fatal(err)
		}
	}
	at := host.Path("m")
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil || st.Type != unix.TMPFS_MAGIC || int64(st.Blocks)*st.Bsize != 1<<20 {
		t.Errorf("type %x, %d blocks of %d bytes, %v", st.Type, st.Blocks, st.Bsize, err)
	}
	if info, err := os.Stat(at); err != nil || info.Mode().Perm() != emptyDirMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(at+"/big", make([]byte, 2<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("two megabytes in one: %v", err)
	}
	if mounts, err := mountsBelow(dir); err != nil || len(mounts) != 1 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
}

func TestMemorySize(t *testing.T) {
	limited := func(limits ...string) *corev1.Pod {
		p := &corev1.Pod{}
		for _, l := range limits {
			c := corev1.Container{}
			if l != "" {
				c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(l)}
			}
			p.Spec.Containers = append(p.Spec.Containers, c)
		}
		return p
	}
	withInit := limited("10", "20")
	withInit.Spec.InitContainers = limited("50").Spec.Containers
	withSidecar := limited("10")
	withSidecar.Spec.InitContainers = limited("50").Spec.Containers
	withSidecar.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		limit string
		node  string
		want  int64
	}{
		"nothing is known":     {limited(""), "", "", 0},
		"its own":              {limited(""), "5", "100", 5},
		"the node's":           {limited(""), "", "100", 100},
		"the containers'":      {limited("10", "20"), "", "100", 30},
		"one has none":         {limited("10", ""), "", "100", 100},
		"its own, over theirs": {limited("10"), "50", "100", 10},
		"a greater init":       {withInit, "", "", 50},
		"a sidecar adds":       {withSidecar, "", "", 60},
	} {
		e := &corev1.EmptyDirVolumeSource{}
		if c.limit != "" {
			e.SizeLimit = ptr.To(resource.MustParse(c.limit))
		}
		facts := env.Facts{}
		if c.node != "" {
			facts.Allocatable = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(c.node)}
		}
		if got := memorySize(c.pod, e, facts); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
