package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

const fsGroup = 4711

func ownedPod(policy corev1.PodFSGroupChangePolicy) *corev1.Pod {
	p := podWith(map[string]corev1.VolumeSource{
		"d": {EmptyDir: &corev1.EmptyDirVolumeSource{}},
		"s": {Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To[int32](0o400)}},
	})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](fsGroup), FSGroupChangePolicy: &policy}
	return p
}

func TestFSGroup(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	m := &Maker{Source: objects{"s": {"deep/k": []byte("x")}}}
	p := ownedPod(corev1.FSGroupChangeAlways)
	made := func() {
		t.Helper()
		if _, err := m.Make(t.Context(), p, dir, env.Facts{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path string, mode fs.FileMode) {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || gid(info) != fsGroup || info.Mode()&permissions != mode {
			t.Errorf("%s: group %d, mode %v, %v; want %v", path, gid(info), info.Mode(), err, mode)
		}
	}
	made()
	want("d", 0o777|fs.ModeSetgid)
	want("s/deep/k", 0o440)
	if err := os.MkdirAll(dir+"/d/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/d/sub/f", "x")
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "theirs")
	for _, err := range []error{os.Chmod(dir+"/d/sub/f", 0o600), os.Chown(dir+"/d/sub/f", 1, 1), os.Symlink(outside, dir+"/d/link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	made()
	want("d/sub", 0o770|fs.ModeSetgid)
	want("d/sub/f", 0o660)
	if info, err := os.Stat(outside); err != nil || gid(info) == fsGroup {
		t.Errorf("a link led out: %v", err)
	}
	// With OnRootMismatch the root tells whether there is something to do.
	if err := os.Chown(dir+"/d/sub/f", 1, 1); err != nil {
		t.Fatal(err)
	}
	p = ownedPod(corev1.FSGroupChangeOnRootMismatch)
	made()
	if info, err := os.Stat(dir + "/d/sub/f"); err != nil || gid(info) != 1 {
		t.Errorf("it was walked through all the same: %v", err)
	}
	if err := os.Chown(dir+"/d", 0, 0); err != nil {
		t.Fatal(err)
	}
	made()
	want("d/sub/f", 0o660)
	want("d", 0o777|fs.ModeSetgid)
}

func TestSubPathsAreTheGroupsToo(t *testing.T) {
	needRoot(t)
	dir := t.TempDir() + "/volumes"
	p := ownedPod(corev1.FSGroupChangeAlways)
	host, err := (&Maker{Source: objects{"s": {"k": []byte("x")}}}).Make(t.Context(), p, dir, env.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	got := mountsOf(t, p, host, corev1.VolumeMount{Name: "d", MountPath: "/d", SubPath: "a/b"}, corev1.VolumeMount{Name: "s", MountPath: "/k", SubPath: "k"})
	for _, m := range got {
		if info, err := os.Stat(m.HostPath); err != nil || gid(info) != fsGroup {
			t.Errorf("%s: group %d, %v", m.ContainerPath, gid(info), err)
		}
	}
}
