package volume

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

func newMemory(t *testing.T) *Memory {
	t.Helper()
	return NewMemory(filepath.Join(needMounts(t), "memory"), slog.New(slog.DiscardHandler))
}

func TestMemoryIsMountedWhileSomethingIsThere(t *testing.T) {
	m := newMemory(t)
	mounted := func() bool {
		is, err := isMountPoint(m.dir)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for range 2 { // the second time it is mounted anew
		for _, name := range []string{"a", "b", "a"} {
			dir, err := m.Of(name)
			if err != nil || dir != filepath.Join(m.dir, name) || !mounted() {
				t.Fatalf("%s: %q, %v, mounted: %v", name, dir, err, mounted())
			}
			write(t, dir+"/secret", "s")
		}
		if info, err := os.Stat(m.dir); err != nil || info.Mode().Perm() != memoryMode {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		for name, want := range map[string]bool{"b": true, "never": true} {
			if err := m.Release(name); err != nil || mounted() != want {
				t.Errorf("after %s: %v, mounted: %v", name, err, mounted())
			}
		}
		if err := m.Release("a"); err != nil || mounted() {
			t.Errorf("after the last: %v, mounted: %v", err, mounted())
		}
	}
	if err := NewMemory(m.dir+"/absent", m.log).Release("x"); err != nil {
		t.Error(err)
	}
}

// What one has there is never lost to another's end, nor does it reach the disk beneath.
func TestMemoryOfManyAtATime(t *testing.T) {
	m := newMemory(t)
	var all sync.WaitGroup
	for _, name := range strings.Split("abcdefgh", "") {
		all.Go(func() {
			for range 10 {
				dir, err := m.Of(name)
				if err == nil {
					err = os.WriteFile(dir+"/secret", []byte(name), 0o600)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if content, err := os.ReadFile(dir + "/secret"); err != nil || string(content) != name {
					t.Errorf("%s: %q, %v", name, content, err)
				}
				if err := m.Release(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if is, err := isMountPoint(m.dir); err != nil || is {
		t.Errorf("mounted: %v, %v", is, err)
	}
	if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
		t.Errorf("on disk: %v, %v", left, err)
	}
}

func TestMemoryThatCannotBeHad(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root: memory can be mounted")
	}
	var said strings.Builder
	m := NewMemory(t.TempDir(), slog.New(slog.NewTextHandler(&said, nil)))
	for range 2 {
		if dir, err := m.Of("a"); err != nil || dir != "" {
			t.Errorf("%q, %v", dir, err)
		}
	}
	if strings.Count(said.String(), "secrets of pods lie on disk") != 1 {
		t.Errorf("said: %s", said.String())
	}
}

// TestConfidentialVolumes are in memory where there is some, with what containers have of their sub paths; those that were
// written on disk before stay there.
func TestConfidentialVolumes(t *testing.T) {
	p := podWith(map[string]corev1.VolumeSource{
		"s":    {Secret: &corev1.SecretVolumeSource{SecretName: "s"}},
		"down": {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
		"proj": {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Optional: ptr.To(true)}}}}},
		"cm":   configMap("s"),
		"tmp":  {EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	disk, memory := t.TempDir(), t.TempDir()
	source := objects{"s": {"k": []byte("1")}}
	m := &Maker{Source: source, Memory: func() (string, error) { return memory, nil }}
	host, err := m.Make(t.Context(), p, disk, env.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"s": memory, "down": memory, "proj": memory, "cm": disk, "tmp": disk} {
		if got := host.Path(name); got != filepath.Join(dir, name) {
			t.Errorf("%s is at %s", name, got)
		}
	}
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "s", MountPath: "/k", SubPath: "k"}, {Name: "cm", MountPath: "/c", SubPath: "k"}}}
	mounts, err := Mounts(p, c, host, nil)
	if err != nil || !strings.HasPrefix(mounts[0].HostPath, memory+"/") || !strings.HasPrefix(mounts[1].HostPath, disk+"/") {
		t.Errorf("mounts %v, %v", mounts, err)
	}
	source["s"]["k"] = []byte("2")
	if changed, err := m.Renew(t.Context(), p, disk, env.Facts{}); err != nil || len(changed) != 3 || read(t, memory+"/s/k") != "2" {
		t.Errorf("renewed %v, %v", changed, err)
	}

	early := t.TempDir()
	if _, err := (&Maker{Source: source}).Make(t.Context(), p, early, env.Facts{}); err != nil {
		t.Fatal(err)
	}
	if host, err = m.Make(t.Context(), p, early, env.Facts{}); err != nil || host.Path("s") != filepath.Join(early, "s") {
		t.Errorf("what containers have on disk is made at %s, %v", host.Path("s"), err)
	}
}
