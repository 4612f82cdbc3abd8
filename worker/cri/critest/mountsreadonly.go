package critest

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// features are what the runtime says of itself and of the handler under test. One that says nothing is not asked for what
// these stand for.
func (s *suite) features() (*runtimev1.RuntimeFeatures, *runtimev1.RuntimeHandlerFeatures) {
	s.Helper()
	answer, err := s.rt.Status(s.ctx, &runtimev1.StatusRequest{})
	s.must(err)
	for _, h := range answer.GetRuntimeHandlers() {
		if h.GetName() == s.Handler {
			return answer.GetFeatures(), h.GetFeatures()
		}
	}
	return answer.GetFeatures(), nil
}

// stacked is a directory with a file system mounted below it.
func (s *suite) stacked() string {
	s.Helper()
	dir := s.directory()
	sub := filepath.Join(dir, "sub")
	s.must(os.Mkdir(sub, 0o755))
	s.must(unix.Mount("none", sub, "tmpfs", 0, ""))
	s.Cleanup(func() { s.must(unix.Unmount(sub, unix.MNT_DETACH)) })
	return dir
}

const writes = "touch /data/x 2>/dev/null && echo above; touch /data/sub/x 2>/dev/null && echo below; echo end"

// testMountReadonlyAbove: without more, what is mounted below a mount that may only be read may be written.
func testMountReadonlyAbove(s *suite) {
	dir := s.stacked()
	got, _ := s.shell(s.sandbox(), writes, func(c *runtimev1.ContainerConfig) { mount(c, dir, "/data").Readonly = true })
	s.matches("writing", got, "below\nend")
}

func testMountReadonlyBelow(s *suite) {
	if _, f := s.features(); !f.GetRecursiveReadOnlyMounts() {
		s.Skip("the runtime has no recursive read-only mounts")
	}
	dir := s.stacked()
	p := s.sandbox()
	got, _ := s.shell(p, writes, func(c *runtimev1.ContainerConfig) {
		m := mount(c, dir, "/data")
		m.Readonly, m.RecursiveReadOnly = true, true
	})
	s.matches("writing", got, "end")
	for name, m := range map[string]*runtimev1.Mount{
		"one that may be written":  {},
		"one that takes in mounts": {Readonly: true, Propagation: runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER},
		"one that gives mounts":    {Readonly: true, Propagation: runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL},
	} {
		c := s.shellConfig(p, "refused", "true")
		m.HostPath, m.ContainerPath, m.RecursiveReadOnly = dir, "/data", true
		c.Mounts = append(c.Mounts, m)
		if _, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config); err == nil {
			s.Errorf("read-only below %s: no error", name)
		}
	}
}

// testMountBidirectional: what a privileged container mounts is seen on the host.
func testMountBidirectional(s *suite) {
	dir := s.directory()
	s.must(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	s.Cleanup(func() { s.must(unix.Unmount(dir, unix.MNT_DETACH)) })
	s.must(unix.Mount("", dir, "", unix.MS_SHARED, ""))
	sub := filepath.Join(dir, "sub")
	s.must(os.Mkdir(sub, 0o755))
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	c := s.shellConfig(p, "main", "mount -t tmpfs none /data/sub && echo hello >/data/sub/word && "+idle)
	c.Linux.SecurityContext.Privileged = true
	mount(c, dir, "/data").Propagation = runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL
	status := s.status(s.begin(p, c))
	s.Cleanup(func() { _ = unix.Unmount(sub, unix.MNT_DETACH) }) // which is missing where the test fails
	if got := status.GetMounts(); len(got) != 1 || got[0].GetPropagation() != runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL {
		s.Errorf("told as %v", got)
	}
	s.eventually("the container's mount on the host", func() bool {
		raw, err := os.ReadFile(filepath.Join(sub, "word"))
		return err == nil && string(raw) == "hello\n"
	})
}

func testMountMissing(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	c := s.shellConfig(p, "main", "true")
	link := filepath.Join(s.TempDir(), "link")
	s.must(os.Symlink("/no/such/place", link))
	mount(c, link, "/data")
	id, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config)
	if err == nil {
		err = s.Client.StartContainer(s.ctx, id)
	}
	if err == nil {
		s.Error("mounting what a link leads nowhere to: no error")
	}
}

// testDevice: a device of the node under another name.
func testDevice(s *suite) {
	got, _ := s.shell(s.sandbox(), "head -c 4 /dev/petrel/nought | od -An -tx1", func(c *runtimev1.ContainerConfig) {
		c.Devices = []*runtimev1.Device{{HostPath: "/dev/zero", ContainerPath: "/dev/petrel/nought", Permissions: "r"}}
	})
	s.matches("read of the device", got, " *00 00 00 00")
}
