package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/pod"
)

// storageLimit gives the pod's containers limits of local storage, in their order; an empty one gets none.
func storageLimit(limits ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for i, limit := range limits {
			if i == len(p.Spec.Containers) {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: "idle", ImagePullPolicy: corev1.PullIfNotPresent})
			}
			if limit != "" {
				p.Spec.Containers[i].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
			}
		}
	}
}

func emptyDirOf(e corev1.EmptyDirVolumeSource) func(*corev1.Pod) {
	return mounts(corev1.VolumeSource{EmptyDir: &e})
}

func TestPodsThatWriteTooMuchAreEvicted(t *testing.T) {
	n := newTestNode(t)
	n.stop()
	n.cfg.storageInterval = 20 * time.Millisecond
	n.start()
	files := paths(n.cfg.RootDir)
	put := func(dir, name string, size int) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inVolume := func(p *corev1.Pod, size int) { put(filepath.Join(files.volumes(p.UID), "v"), "f", size) }
	inLog := func(p *corev1.Pod, size int) { put(filepath.Join(files.logs(p), "main"), "1.log", size) }
	inLayer := func(p *corev1.Pod, size int) { n.runtime.SetLayer(string(p.UID), "main", uint64(size)) }
	const mi = 1 << 20
	for _, tt := range []struct {
		name    string
		change  []func(*corev1.Pod)
		write   func(*corev1.Pod)
		message string // empty: it stays
	}{
		{"volume", []func(*corev1.Pod){emptyDirOf(corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))})},
			func(p *corev1.Pod) { inVolume(p, 2*mi) }, `Usage of EmptyDir volume "v" exceeds the limit "1Mi".`},
		{"volume-that-may", []func(*corev1.Pod){emptyDirOf(corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("4Mi"))})},
			func(p *corev1.Pod) { inVolume(p, 2*mi) }, ""},
		{"unlimited", []func(*corev1.Pod){emptyDirOf(corev1.EmptyDirVolumeSource{})},
			func(p *corev1.Pod) { inVolume(p, 2*mi); inLog(p, 2*mi); inLayer(p, 2*mi) }, ""},
		{"layer", []func(*corev1.Pod){storageLimit("1Mi", "4Mi")},
			func(p *corev1.Pod) { inLayer(p, 2*mi) }, `Container main exceeded its local ephemeral storage limit "1Mi".`},
		{"log", []func(*corev1.Pod){storageLimit("1Mi", "4Mi")},
			func(p *corev1.Pod) { inLog(p, 2*mi) }, `Container main exceeded its local ephemeral storage limit "1Mi".`},
		{"layer-of-the-unlimited", []func(*corev1.Pod){storageLimit("", "4Mi")},
			func(p *corev1.Pod) { inLayer(p, 2*mi) }, ""},
		{"critical", []func(*corev1.Pod){critical, storageLimit("1Mi")}, func(p *corev1.Pod) { inLayer(p, 2*mi) }, ""},
		{"together", []func(*corev1.Pod){emptyDirOf(corev1.EmptyDirVolumeSource{}), storageLimit("2Mi", "1Mi")},
			func(p *corev1.Pod) { inVolume(p, 2*mi); inLog(p, mi/2); inLayer(p, mi) },
			`Pod ephemeral local storage usage exceeds the total limit of containers 3Mi.`},
		{"less-together", []func(*corev1.Pod){emptyDirOf(corev1.EmptyDirVolumeSource{}), storageLimit("2Mi", "2Mi")},
			func(p *corev1.Pod) { inVolume(p, 2*mi); inLog(p, mi/2); inLayer(p, mi) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.create(testPod(tt.name, "idle", tt.change...))
			tt.write(n.ready(tt.name))
			if tt.message == "" {
				return
			}
			p := n.phase(tt.name, corev1.PodFailed)
			if p.Status.Reason != pod.ReasonEvicted || p.Status.Message != tt.message {
				t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
			}
		})
	}
	// Each of these is measured in a later round than the one before: by the third, all others were.
	for _, name := range []string{"one", "two", "three"} {
		n.create(testPod(name, "idle", storageLimit("1Mi")))
		inLayer(n.ready(name), 2*mi)
		n.phase(name, corev1.PodFailed)
	}
	for _, name := range []string{"volume-that-may", "unlimited", "layer-of-the-unlimited", "critical", "less-together"} {
		n.ready(name)
	}
}
