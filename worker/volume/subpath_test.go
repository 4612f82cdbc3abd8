package volume

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

// volumesOf makes a pod with a config map and an empty directory in dir.
func volumesOf(t *testing.T, dir string) (*corev1.Pod, Host) {
	t.Helper()
	p := podWith(map[string]corev1.VolumeSource{"cm": configMap("cm"), "data": {EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	host, err := (&Maker{Source: objects{"cm": {"a": []byte("1"), "b": []byte("2")}}}).Make(t.Context(), p, dir, env.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	return p, host
}

// mountsOf is Mounts for one container, whose sub paths the test unmounts again.
func mountsOf(t *testing.T, p *corev1.Pod, host Host, mounts ...corev1.VolumeMount) []Mount {
	t.Helper()
	t.Cleanup(func() {
		if err := Remove(host.dir); err != nil {
			t.Error(err)
		}
	})
	got, err := Mounts(p, &corev1.Container{Name: "main", VolumeMounts: mounts}, host, []env.Var{{Name: "POD", Value: "web-0"}, {Name: "POD", Value: "web-1"}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestMounts(t *testing.T) {
	dir := t.TempDir() + "/volumes"
	p, host := volumesOf(t, dir)
	got := mountsOf(t, p, host,
		corev1.VolumeMount{Name: "cm", MountPath: "/etc/app"},
		corev1.VolumeMount{Name: "data", MountPath: "/in", ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyIfPossible)},
		corev1.VolumeMount{Name: "data", MountPath: "/both", MountPropagation: ptr.To(corev1.MountPropagationBidirectional)},
		corev1.VolumeMount{Name: "data", MountPath: "/mine", SubPathExpr: "$(POD)/x", MountPropagation: ptr.To(corev1.MountPropagationNone)},
		corev1.VolumeMount{Name: "cm", MountPath: "/a", SubPath: "a"},
	)
	for i, want := range []Mount{
		{HostPath: dir + "/cm", ContainerPath: "/etc/app", ReadOnly: true},
		{HostPath: dir + "/data", ContainerPath: "/in", ReadOnly: true},
		{HostPath: dir + "/data", ContainerPath: "/both", Propagation: corev1.MountPropagationBidirectional},
	} {
		if got[i] != want {
			t.Errorf("mount %d = %+v, want %+v", i, got[i], want)
		}
	}
	write(t, got[3].HostPath+"/f", "mine")
	if in := read(t, dir+"/data/web-1/x/f"); in != "mine" || got[3].ReadOnly {
		t.Errorf("sub path: %+v, %q", got[3], in)
	}
	if info, err := os.Stat(dir + "/data/web-1"); err != nil || info.Mode().Perm() != emptyDirMode {
		t.Errorf("a sub path cannot be written to by who can write to its volume: %v, %v", info.Mode(), err)
	}
	if a := read(t, got[4].HostPath); a != "1" || !got[4].ReadOnly {
		t.Errorf("file of a config map: %+v, %q", got[4], a)
	}
}

func TestMountsRefuses(t *testing.T) {
	dir := t.TempDir() + "/volumes"
	p, host := volumesOf(t, dir)
	if err := os.Symlink("/etc", dir+"/data/evil"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../cm", dir+"/data/aside"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []corev1.VolumeMount{
		{Name: "none"}, {Name: "data", SubPath: "evil"}, {Name: "data", SubPath: "evil/passwd"}, {Name: "data", SubPath: "aside"},
		{Name: "data", SubPath: "evil/new"}, {Name: "data", SubPathExpr: "../cm"}, {Name: "data", SubPathExpr: "$(NONE)"},
		{Name: "data", SubPath: "/etc"}, {Name: "cm", SubPath: "none"}, {Name: "data", RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyEnabled)},
	} {
		bad.MountPath = "/x"
		got, err := Mounts(p, &corev1.Container{Name: "main", VolumeMounts: []corev1.VolumeMount{bad}}, host, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "mount /x: ") {
			t.Errorf("mount %+v: %+v, %v", bad, got, err)
		}
	}
	if mounts, err := mountsBelow(dir); err != nil || len(mounts) != 0 {
		t.Errorf("mounted all the same: %v, %v", mounts, err)
	}
}

// A sub path of a config map stays what it was when the container began, as Kubernetes has it.
func TestSubPathOfAChangingVolume(t *testing.T) {
	dir := t.TempDir() + "/volumes"
	p, host := volumesOf(t, dir)
	mount := corev1.VolumeMount{Name: "cm", MountPath: "/a", SubPath: "a"}
	at := mountsOf(t, p, host, mount)[0].HostPath
	renewed := &Maker{Source: objects{"cm": {"a": []byte("new")}}}
	if _, err := renewed.Renew(t.Context(), p, dir, env.Facts{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, at); got != "1" {
		t.Errorf("it reads %q", got)
	}
	if got := read(t, mountsOf(t, p, host, mount)[0].HostPath); got != "new" {
		t.Errorf("the next attempt reads %q", got)
	}
}

// A container that exchanges a sub path for a link after it was looked at gets nothing by it: what was taken by its
// descriptor is what is mounted.
func TestSubPathIsBoundByDescriptor(t *testing.T) {
	dir := needMounts(t) + "/volumes"
	p, host := volumesOf(t, dir)
	secret := t.TempDir()
	write(t, secret+"/key", "secret")
	stop := make(chan struct{})
	var attacker sync.WaitGroup
	target := dir + "/data/sub"
	attacker.Go(func() {
		for {
			_ = os.RemoveAll(target)
			_ = os.Symlink(secret, target)
			_ = os.Remove(target)
			_ = os.Mkdir(target, 0o755)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const enough = 50
	bound := 0
	for deadline := time.Now().Add(30 * time.Second); bound < enough && time.Now().Before(deadline); {
		got, err := Mounts(p, &corev1.Container{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/x", SubPath: "sub"}}}, host, nil)
		if err != nil {
			continue
		}
		bound++
		if _, err := os.Stat(got[0].HostPath + "/key"); err == nil {
			t.Fatal("a sub path led out of its volume")
		}
	}
	close(stop)
	attacker.Wait()
	if bound < enough {
		t.Errorf("%d attempts were bound in all that time: nothing was tried", bound)
	}
}

// Unmounting what a container saw leaves the volume's own mounts alone, also where mounts are shared.
func TestRemoveLeavesWhatIsBoundAlone(t *testing.T) {
	base := needMounts(t)
	host := base + "/host"
	for _, d := range []string{host, base + "/volumes"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []func() error{
		func() error { return unix.Mount("tmpfs", host, "tmpfs", 0, "") },
		func() error { return unix.Mount("", host, "", unix.MS_SHARED, "") },
		func() error { return os.MkdirAll(host+"/sub/inner", 0o755) },
		func() error { return unix.Mount("tmpfs", host+"/sub/inner", "tmpfs", 0, "") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	write(t, host+"/sub/inner/f", "theirs")
	p := podWith(map[string]corev1.VolumeSource{"h": {HostPath: &corev1.HostPathVolumeSource{Path: host}}, "m": {EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}})
	at, err := (&Maker{HostPaths: []string{host}}).Make(t.Context(), p, base+"/volumes", env.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	got := mountsOf(t, p, at, corev1.VolumeMount{Name: "h", MountPath: "/x", SubPath: "sub"})
	if in := read(t, got[0].HostPath+"/inner/f"); in != "theirs" {
		t.Errorf("it reads %q", in)
	}
	if err := Remove(base + "/volumes"); err != nil {
		t.Fatal(err)
	}
	if in := read(t, host+"/sub/inner/f"); in != "theirs" {
		t.Errorf("after the removal: %q", in)
	}
	if _, err := os.Stat(filepath.Join(base, "volumes")); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}
