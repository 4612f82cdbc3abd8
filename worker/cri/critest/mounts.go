package critest

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var mountTests = map[string]func(*suite){
	"Directory":       testMountDirectory,
	"Readonly":        testMountReadonly,
	"File":            testMountFile,
	"Link":            testMountLink,
	"Shared":          testMountShared,
	"Private":         func(s *suite) { testPropagation(s, runtimev1.MountPropagation_PROPAGATION_PRIVATE, "no") },
	"HostToContainer": func(s *suite) { testPropagation(s, runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, "yes") },
	"Status":          testMountStatus,
	"ReadonlyAbove":   testMountReadonlyAbove,
	"ReadonlyBelow":   testMountReadonlyBelow,
	"Bidirectional":   testMountBidirectional,
	"Missing":         testMountMissing,
	"Device":          testDevice,
}

func mount(c *runtimev1.ContainerConfig, host, container string) *runtimev1.Mount {
	m := &runtimev1.Mount{HostPath: host, ContainerPath: container}
	c.Mounts = append(c.Mounts, m)
	return m
}

// directory is one that every user may look into.
func (s *suite) directory() string {
	s.Helper()
	dir := s.TempDir()
	s.must(os.Chmod(dir, 0o777))
	s.must(os.WriteFile(filepath.Join(dir, "file"), []byte("from the host"), 0o644))
	return dir
}

func testMountDirectory(s *suite) {
	dir := s.directory()
	got, code := s.shell(s.sandbox(), "cat /data/file; echo back >/data/new", func(c *runtimev1.ContainerConfig) { mount(c, dir, "/data") })
	if got != "from the host" || code != 0 {
		s.Errorf("wrote %q, exit code %d", got, code)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(raw) != "back\n" {
		s.Errorf("on the host %q, %v", raw, err)
	}
}

func testMountReadonly(s *suite) {
	dir := s.directory()
	got, code := s.shell(s.sandbox(), "cat /data/file; (echo x >/data/new) 2>/dev/null", func(c *runtimev1.ContainerConfig) { mount(c, dir, "/data").Readonly = true })
	if got != "from the host" || code == 0 {
		s.Errorf("wrote %q, exit code %d", got, code)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		s.Error("it wrote to what it may only read")
	}
}

func testMountFile(s *suite) {
	dir := s.directory()
	got, _ := s.shell(s.sandbox(), "cat /etc/one", func(c *runtimev1.ContainerConfig) { mount(c, filepath.Join(dir, "file"), "/etc/one") })
	s.matches("file", got, "from the host")
}

func testMountLink(s *suite) {
	dir := s.directory()
	link := filepath.Join(s.TempDir(), "link")
	s.must(os.Symlink(dir, link))
	got, _ := s.shell(s.sandbox(), "cat /data/file", func(c *runtimev1.ContainerConfig) { mount(c, link, "/data") })
	s.matches("through a link", got, "from the host")
}

func testMountShared(s *suite) {
	dir := s.directory()
	p := s.sandbox()
	first := s.shellConfig(p, "first", "echo hello >/data/word; "+idle)
	mount(first, dir, "/data")
	s.begin(p, first)
	s.eventually("the other's file", func() bool {
		got, _ := s.shell(p, "cat /data/word", func(c *runtimev1.ContainerConfig) { mount(c, dir, "/data") })
		return got == "hello"
	})
}

// testPropagation mounts something on the host below a directory that a running container has.
func testPropagation(s *suite, how runtimev1.MountPropagation, want string) {
	dir := s.directory()
	s.must(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	s.Cleanup(func() { s.must(unix.Unmount(dir, unix.MNT_DETACH)) })
	s.must(unix.Mount("", dir, "", unix.MS_SHARED, ""))
	s.must(os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	p := s.sandbox()
	c := s.shellConfig(p, "main", idle)
	mount(c, dir, "/data").Propagation = how
	id := s.begin(p, c)
	sub := filepath.Join(dir, "sub")
	s.must(unix.Mount("none", sub, "tmpfs", 0, ""))
	s.Cleanup(func() { s.must(unix.Unmount(sub, unix.MNT_DETACH)) })
	s.must(os.WriteFile(filepath.Join(sub, "late"), nil, 0o644))
	r := s.exec(id, "/bin/sh", "-c", "test -e /data/sub/late && echo yes || echo no")
	s.matches("what was mounted later is seen", string(r.Stdout), want+"\n")
	s.must(s.Client.StopContainer(s.ctx, id, time.Second))
}

func testMountStatus(s *suite) {
	dir := s.directory()
	p := s.sandbox()
	c := s.shellConfig(p, "main", idle)
	mount(c, dir, "/data").Readonly = true
	status := s.status(s.begin(p, c))
	if len(status.GetMounts()) != 1 || status.GetMounts()[0].GetHostPath() != dir || status.GetMounts()[0].GetContainerPath() != "/data" || !status.GetMounts()[0].GetReadonly() {
		s.Errorf("told as %v", status.GetMounts())
	}
}
