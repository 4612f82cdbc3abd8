package critest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// securityTests are of the fields of a security context and of namespaces.
var securityTests = map[string]func(*suite){
	"Fields":                   testFields,
	"GroupAlone":               testGroupAlone,
	"SeccompProfile":           testSeccompProfile,
	"SeccompMissing":           testSeccompMissing,
	"PIDOfPod":                 testPIDOfPod,
	"PIDOfNode":                testPIDOfNode,
	"IPCOfPod":                 testIPCOfPod,
	"Sysctls":                  testSysctls,
	"PrivilegedPod":            testPrivileged,
	"PrivilegedInUnprivileged": testPrivilegedInUnprivileged,
	"SeccompOfAdmins":          testSeccompOfAdmins,
	"AppArmorMissing":          testAppArmorMissing,
	"GroupsPolicy":             testGroupsPolicy,
	"UserNamespaces":           testUserNamespaces,
}

// testFields has a container for each, in one pod.
func testFields(s *suite) {
	p := s.sandbox()
	for name, c := range fields {
		s.Run(name, func(t *testing.T) {
			s := *s
			s.T = t
			got, _ := s.shell(p, c.script, func(config *runtimev1.ContainerConfig) { c.set(config.Linux.SecurityContext) })
			s.matches(c.script, got, c.want)
		})
	}
}

type security = runtimev1.LinuxContainerSecurityContext

func id(n int64) *runtimev1.Int64Value { return &runtimev1.Int64Value{Value: n} }

func capabilities(add, drop []string) func(*security) {
	return func(c *security) {
		c.Capabilities = &runtimev1.Capability{AddCapabilities: add, DropCapabilities: drop}
	}
}

func profile(kind runtimev1.SecurityProfile_ProfileType) func(*security) {
	return func(c *security) { c.Seccomp = &runtimev1.SecurityProfile{ProfileType: kind} }
}

const (
	effective = "grep CapEff /proc/self/status | cut -f2"
	seccomp   = "grep Seccomp: /proc/self/status | cut -f2"
	noNewPriv = "grep NoNewPrivs /proc/self/status | cut -f2"
)

var fields = map[string]struct {
	set          func(*security)
	script, want string
}{
	"Default":                {func(*security) {}, "id -u; id -g; touch /x && echo writable", "0\n0\nwritable"},
	"User":                   {func(c *security) { c.RunAsUser = id(1000) }, "id -u", "1000"},
	"UserWithoutEntry":       {func(c *security) { c.RunAsUser = id(4711) }, "id -u; id -g", "4711\n0"},
	"UserName":               {func(c *security) { c.RunAsUsername = "user" }, "id -u", "1000"},
	"Group":                  {func(c *security) { c.RunAsUser, c.RunAsGroup = id(1000), id(1234) }, "id -u; id -g", "1000\n1234"},
	"GroupOfUserName":        {func(c *security) { c.RunAsUsername, c.RunAsGroup = "user", id(1234) }, "id -u; id -g", "1000\n1234"},
	"SupplementalGroups":     {func(c *security) { c.RunAsUser, c.SupplementalGroups = id(1000), []int64{2345, 3456} }, "id -G", ".*2345.*3456.*"},
	"GroupsOfTheImage":       {func(c *security) { c.RunAsUser = id(1000) }, "id -G", ".*1001.*"},
	"ReadonlyRoot":           {func(c *security) { c.ReadonlyRootfs = true }, "touch /x 2>/dev/null || echo refused; touch /tmp/x 2>/dev/null || echo refused", "refused\nrefused"},
	"DefaultCapabilities":    {func(*security) {}, effective, "00000000a80425fb"},
	"CapabilitiesOfUsers":    {func(c *security) { c.RunAsUser = id(1000) }, effective, "0000000000000000"},
	"CapabilityAdded":        {capabilities([]string{"NET_ADMIN"}, nil), effective, "00000000a80435fb"},
	"CapabilityDropped":      {capabilities(nil, []string{"CHOWN"}), effective + "; touch /f; chown 1 /f 2>/dev/null || echo refused", "00000000a80425fa\nrefused"},
	"CapabilitiesAllDropped": {capabilities(nil, []string{"ALL"}), effective, "0000000000000000"},
	"CapabilitiesAllButOne":  {capabilities([]string{"NET_BIND_SERVICE"}, []string{"ALL"}), effective, "0000000000000400"},
	"CapabilitiesAllAdded":   {capabilities([]string{"ALL"}, nil), effective + "; mount -t tmpfs none /tmp && echo mounted", "0000[0-9a-f]+\nmounted"},
	"NoNewPrivileges":        {func(c *security) { c.NoNewPrivs = true }, noNewPriv, "1"},
	"NewPrivileges":          {func(*security) {}, noNewPriv, "0"},
	"MaskedPaths":            {func(c *security) { c.MaskedPaths = []string{"/etc/passwd"} }, "wc -c </etc/passwd", "0"},
	"ReadonlyPaths":          {func(c *security) { c.ReadonlyPaths = []string{"/tmp"} }, "touch /tmp/x 2>/dev/null || echo refused; touch /x && echo writable", "refused\nwritable"},
	"ReadonlyProc":           {func(c *security) { c.ReadonlyPaths = []string{"/proc/sys"} }, "echo 1 2>/dev/null >/proc/sys/kernel/domainname || echo refused", "refused"},
	"SeccompOfNone":          {func(*security) {}, seccomp, "0"},
	"SeccompUnconfined":      {profile(runtimev1.SecurityProfile_Unconfined), seccomp, "0"},
	"SeccompDefault":         {profile(runtimev1.SecurityProfile_RuntimeDefault), seccomp, "2"},
	"PIDOfContainer":         {func(c *security) { c.NamespaceOptions.Pid = runtimev1.NamespaceMode_CONTAINER }, "echo $$", "1"},
	"Devices":                {func(*security) {}, "ls /dev/null /dev/zero /dev/urandom && ls /dev/mem 2>/dev/null || echo no more", "/dev/null\n/dev/urandom\n/dev/zero\nno more"},
	"UnprivilegedMount":      {func(*security) {}, "mount -t tmpfs none /tmp 2>/dev/null || echo refused", "refused"},
	"UnprivilegedNetwork":    {func(*security) {}, "ip link set lo down 2>/dev/null || echo refused", "refused"},
}

// testGroupAlone: a group without a user has no meaning, and is refused.
func testGroupAlone(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	c := s.shellConfig(p, "main", "id")
	c.Linux.SecurityContext.RunAsGroup = id(1234)
	if _, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config); err == nil {
		s.Error("a group without a user: no error")
	}
}

// localProfile has the system calls of an action for the names in a file.
func (s *suite) localProfile(names ...string) *runtimev1.SecurityProfile {
	s.Helper()
	path := filepath.Join(s.TempDir(), "profile.json")
	s.must(os.WriteFile(path, fmt.Appendf(nil, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["%s"],"action":"SCMP_ACT_ERRNO"}]}`, strings.Join(names, `","`)), 0o644))
	return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: path}
}

func testSeccompProfile(s *suite) {
	got, _ := s.shell(s.sandbox(), "mkdir /made 2>/dev/null || echo refused; touch /x && echo writable", func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.Seccomp = s.localProfile("mkdir", "mkdirat")
	})
	s.matches("under a profile of the node", got, "refused\nwritable")
}

func testSeccompMissing(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	c := s.shellConfig(p, "main", "id")
	c.Linux.SecurityContext.Seccomp = &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: filepath.Join(s.TempDir(), "none.json")}
	if _, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config); err == nil {
		s.Error("a profile that is not there: no error")
	}
}

func testPIDOfPod(s *suite) {
	p := s.sandbox()
	c := s.shellConfig(p, "first", "exec sleep 543")
	c.Linux.SecurityContext.NamespaceOptions.Pid = runtimev1.NamespaceMode_POD
	s.begin(p, c)
	got, _ := s.shell(p, "ps; echo $$", func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimev1.NamespaceMode_POD
	})
	if !strings.Contains(got, "sleep 543") || strings.HasSuffix(got, "\n1") {
		s.Errorf("in the pod's namespace it sees %q", got)
	}
}

func testPIDOfNode(s *suite) {
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimev1.NamespaceMode_NODE
	})
	got, _ := s.shell(p, "readlink /proc/self/ns/pid; test -d /proc/"+strconv.Itoa(os.Getpid())+" && echo seen", func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimev1.NamespaceMode_NODE
	})
	own, err := os.Readlink("/proc/self/ns/pid")
	s.must(err)
	s.matches("namespace and this test's process", got, strings.NewReplacer("[", `\[`, "]", `\]`).Replace(own)+"\nseen")
}

func testIPCOfPod(s *suite) {
	p := s.sandbox()
	one, _ := s.shell(p, "readlink /proc/self/ns/ipc", nil)
	two, _ := s.shell(p, "readlink /proc/self/ns/ipc", nil)
	own, err := os.Readlink("/proc/self/ns/ipc")
	s.must(err)
	if one != two || one == own {
		s.Errorf("containers of a pod are in %s and %s, the node in %s", one, two, own)
	}
	host := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Ipc = runtimev1.NamespaceMode_NODE
	})
	got, _ := s.shell(host, "readlink /proc/self/ns/ipc", func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Ipc = runtimev1.NamespaceMode_NODE
	})
	if got != own {
		s.Errorf("asked for the node's IPC it is in %s, the node in %s", got, own)
	}
}

func testSysctls(s *suite) {
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"}
	})
	got, _ := s.shell(p, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced", nil)
	s.matches("kernel parameters", got, "77\n1")
}

func testPrivileged(s *suite) {
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	got, _ := s.shell(p, effective+"; mount -t tmpfs none /tmp && echo mounted; ip link set lo down && echo down; "+seccomp, func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.Privileged = true
	})
	s.matches("a privileged container", got, "0000[0-9a-f]+\nmounted\ndown\n0")
}

// testPrivilegedInUnprivileged: a container has no more than its pod.
func testPrivilegedInUnprivileged(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	c := s.shellConfig(p, "main", "id")
	c.Linux.SecurityContext.Privileged = true
	if _, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config); err == nil {
		s.Error("a privileged container in a pod that is not: no error")
	}
}
