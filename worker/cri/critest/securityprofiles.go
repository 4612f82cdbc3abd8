package critest

import (
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const rename = "hostname renamed 2>/dev/null && hostname || echo refused"

// testSeccompOfAdmins: a system call filter holds for who has every capability that the call needs, but not for the
// privileged.
func testSeccompOfAdmins(s *suite) {
	admin := &runtimev1.Capability{AddCapabilities: []string{"SYS_ADMIN"}}
	got, _ := s.shell(s.sandbox(), rename, func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.Capabilities = admin
		c.Linux.SecurityContext.Seccomp = &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
	})
	s.matches("without a filter", got, "renamed")
	filter := s.localProfile("sethostname")
	got, _ = s.shell(s.sandbox(), rename, func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.Capabilities, c.Linux.SecurityContext.Seccomp = admin, filter
	})
	s.matches("with a filter", got, "refused")
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	got, _ = s.shell(p, rename+"; "+seccomp, func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.Privileged, c.Linux.SecurityContext.Seccomp = true, filter
	})
	s.matches("with a filter, privileged", got, "renamed\n0")
}

// testAppArmorMissing: a profile that is not loaded is not left out.
func testAppArmorMissing(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	c := s.shellConfig(p, "main", "true")
	c.Linux.SecurityContext.Apparmor = &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: "petrel-no-such-profile"}
	c.Linux.SecurityContext.ApparmorProfile = "localhost/petrel-no-such-profile" //nolint:staticcheck // what older runtimes read
	id, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config)
	if err == nil {
		err = s.Client.StartContainer(s.ctx, id)
	}
	if err == nil {
		s.Error("an AppArmor profile that is not loaded: no error")
	}
}

// testGroupsPolicy: with the policy Strict a container has no groups but those that the pod names.
func testGroupsPolicy(s *suite) {
	if f, _ := s.features(); !f.GetSupplementalGroupsPolicy() {
		s.Skip("the runtime has no policy of supplemental groups")
	}
	for policy, want := range map[runtimev1.SupplementalGroupsPolicy]string{
		runtimev1.SupplementalGroupsPolicy_Merge:  "1000 1001 2345",
		runtimev1.SupplementalGroupsPolicy_Strict: "1000 2345",
	} {
		p := s.sandbox()
		c := s.shellConfig(p, "main", "id -G; "+idle)
		c.Linux.SecurityContext.RunAsUser, c.Linux.SecurityContext.RunAsGroup = id(1000), id(1000)
		c.Linux.SecurityContext.SupplementalGroups, c.Linux.SecurityContext.SupplementalGroupsPolicy = []int64{2345}, policy
		container := s.begin(p, c)
		s.eventually("its groups", func() bool { return size(p.config.GetLogDirectory()+"/"+c.GetLogPath()) > 0 })
		s.matches(policy.String(), strings.Join(s.logLines(p, c.GetLogPath()), "\n"), "stdout "+want)
		told := s.status(container).GetUser().GetLinux()
		if told.GetUid() != 1000 || told.GetGid() != 1000 || len(told.GetSupplementalGroups()) != strings.Count(want, " ")+1 {
			s.Errorf("%v is told as %v", policy, told)
		}
	}
}

// testUserNamespaces: root of the pod is somebody else on the node; mappings that make no sense are refused.
func testUserNamespaces(s *suite) {
	if _, f := s.features(); !f.GetUserNamespaces() {
		s.Skip("the runtime has no user namespaces")
	}
	mapping := []*runtimev1.IDMapping{{ContainerId: 0, HostId: 1 << 20, Length: 1 << 16}}
	own := &runtimev1.UserNamespace{Mode: runtimev1.NamespaceMode_POD, Uids: mapping, Gids: mapping}
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) { c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = own })
	got, _ := s.shell(p, "id -u; tr -s ' ' </proc/self/uid_map", func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = own
	})
	s.matches("user and mapping", got, "0\n ?0 1048576 65536")
	two := []*runtimev1.IDMapping{{ContainerId: 0, HostId: 1 << 20, Length: 1}, {ContainerId: 1, HostId: 1 << 21, Length: 1}}
	without := []*runtimev1.IDMapping{{ContainerId: 1, HostId: 1 << 20, Length: 1 << 16}}
	for name, u := range map[string]*runtimev1.UserNamespace{
		"two mappings":            {Mode: runtimev1.NamespaceMode_POD, Uids: two, Gids: two},
		"a mapping without root":  {Mode: runtimev1.NamespaceMode_POD, Uids: without, Gids: without},
		"one of the container":    {Mode: runtimev1.NamespaceMode_CONTAINER, Uids: mapping, Gids: mapping},
		"one of another's target": {Mode: runtimev1.NamespaceMode_TARGET, Uids: mapping, Gids: mapping},
	} {
		config := s.podConfig()
		config.Linux.SecurityContext.NamespaceOptions.UsernsOptions = u
		sandbox, err := s.Client.RunPodSandbox(s.ctx, config, s.Handler)
		if err == nil {
			s.Errorf("%s: no error", name)
			s.must(s.Client.RemovePodSandbox(s.ctx, sandbox))
		}
	}
}
