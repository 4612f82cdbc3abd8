package confine

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func secured(s *corev1.SecurityContext, p *corev1.PodSecurityContext) *corev1.Pod {
	out := podOf(corev1.Container{Name: "c", SecurityContext: s})
	out.Spec.SecurityContext = p
	return out
}

func TestSecurity(t *testing.T) {
	p := secured(&corev1.SecurityContext{
		RunAsUser: ptr.To[int64](7), ReadOnlyRootFilesystem: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false),
		Capabilities:    &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:  &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("a/b.json")},
		AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To("mine")},
	}, &corev1.PodSecurityContext{
		RunAsUser: ptr.To[int64](5), RunAsGroup: ptr.To[int64](6), FSGroup: ptr.To[int64](8), SupplementalGroups: []int64{9},
		SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict), SELinuxOptions: &corev1.SELinuxOptions{Type: "t"},
	})
	got, err := Security(p, &p.Spec.Containers[0], Options{ProfileDir: "/profiles"})
	if err != nil {
		t.Fatal(err)
	}
	want := &runtimev1.LinuxContainerSecurityContext{
		NamespaceOptions: &runtimev1.NamespaceOption{Pid: runtimev1.NamespaceMode_CONTAINER},
		RunAsUser:        &runtimev1.Int64Value{Value: 7}, RunAsGroup: &runtimev1.Int64Value{Value: 6},
		SupplementalGroups: []int64{8, 9}, SupplementalGroupsPolicy: runtimev1.SupplementalGroupsPolicy_Strict,
		ReadonlyRootfs: true, NoNewPrivs: true, SelinuxOptions: &runtimev1.SELinuxOption{Type: "t"},
		Capabilities: &runtimev1.Capability{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"}},
		MaskedPaths:  maskedPaths, ReadonlyPaths: readonlyPaths,
		Seccomp:  &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: "/profiles/a/b.json"},
		Apparmor: &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: "mine"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("security context\n%v, want\n%v", got, want)
	}
}

func TestSecurityOfNothing(t *testing.T) {
	p := podOf(corev1.Container{})
	got, err := Security(p, &p.Spec.Containers[0], Options{})
	if err != nil || got.RunAsUser != nil || got.RunAsUsername != "" || got.Privileged || got.NoNewPrivs || len(got.MaskedPaths) == 0 ||
		got.Seccomp.ProfileType != runtimev1.SecurityProfile_Unconfined {
		t.Errorf("security context %v, %v", got, err)
	}
	unmasked := &corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount), Privileged: ptr.To(true)}
	p = secured(unmasked, nil)
	got, err = Security(p, &p.Spec.Containers[0], Options{})
	if err != nil || len(got.MaskedPaths)+len(got.ReadonlyPaths) > 0 || !got.Privileged {
		t.Errorf("security context %v, %v", got, err)
	}
}

func TestProfiles(t *testing.T) {
	for _, bad := range []*corev1.SeccompProfile{
		{Type: corev1.SeccompProfileTypeLocalhost},
		{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("../../etc/passwd")},
		{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("/etc/passwd")},
		{Type: "Strange"},
	} {
		p := secured(nil, &corev1.PodSecurityContext{SeccompProfile: bad})
		if _, err := Security(p, &p.Spec.Containers[0], Options{ProfileDir: "/profiles"}); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
	p := secured(nil, &corev1.PodSecurityContext{
		SeccompProfile:  &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault},
	})
	got, err := Security(p, &p.Spec.Containers[0], Options{})
	if err != nil || got.Seccomp.ProfileType != runtimev1.SecurityProfile_RuntimeDefault || got.Apparmor == nil {
		t.Errorf("security context %v, %v", got, err)
	}
}

func TestUsers(t *testing.T) {
	yes := ptr.To(true)
	for name, test := range map[string]struct {
		own   corev1.SecurityContext
		image ImageUser
		uid   *int64
		user  string
		want  string
		asks  bool
	}{
		"left to the image":    {corev1.SecurityContext{}, ImageUser{}, nil, "", "", false},
		"by number":            {corev1.SecurityContext{RunAsUser: ptr.To[int64](3)}, ImageUser{}, ptr.To[int64](3), "", "", false},
		"root breaks policy":   {corev1.SecurityContext{RunAsUser: ptr.To[int64](0), RunAsNonRoot: yes}, ImageUser{}, nil, "", "breaks non-root policy", false},
		"number under policy":  {corev1.SecurityContext{RunAsUser: ptr.To[int64](3), RunAsNonRoot: yes}, ImageUser{}, ptr.To[int64](3), "", "", false},
		"image is root":        {corev1.SecurityContext{RunAsNonRoot: yes}, ImageUser{UID: ptr.To[int64](0)}, nil, "", "image will run as root", true},
		"image names nobody":   {corev1.SecurityContext{RunAsNonRoot: yes}, ImageUser{}, nil, "", "image will run as root", true},
		"image names somebody": {corev1.SecurityContext{RunAsNonRoot: yes}, ImageUser{Name: "web"}, nil, "", "non-numeric user (web)", true},
		"image has a number":   {corev1.SecurityContext{RunAsNonRoot: yes}, ImageUser{UID: ptr.To[int64](65532)}, nil, "", "", true},
		"group of the image's": {corev1.SecurityContext{RunAsGroup: ptr.To[int64](9)}, ImageUser{UID: ptr.To[int64](4)}, ptr.To[int64](4), "", "", true},
		"group of a name":      {corev1.SecurityContext{RunAsGroup: ptr.To[int64](9)}, ImageUser{Name: "web"}, nil, "web", "", true},
		"group of root":        {corev1.SecurityContext{RunAsGroup: ptr.To[int64](9)}, ImageUser{}, ptr.To[int64](0), "", "", true},
	} {
		p := secured(&test.own, nil)
		c := &p.Spec.Containers[0]
		if got := NeedsImageUser(p, c); got != test.asks {
			t.Errorf("%s: needs the image's user: %v", name, got)
		}
		got, err := Security(p, c, Options{Image: test.image})
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: error %v, want %q", name, err, test.want)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got.RunAsUser, number(test.uid)) || got.RunAsUsername != test.user {
			t.Errorf("%s: user %v %q, %v", name, got.GetRunAsUser(), got.GetRunAsUsername(), err)
		}
	}
}

func TestNamespaces(t *testing.T) {
	const node, pod, own, target = runtimev1.NamespaceMode_NODE, runtimev1.NamespaceMode_POD, runtimev1.NamespaceMode_CONTAINER, runtimev1.NamespaceMode_TARGET
	for name, test := range map[string]struct {
		spec              corev1.PodSpec
		target            string
		network, ipc, pid runtimev1.NamespaceMode
	}{
		"nothing":            {corev1.PodSpec{}, "", pod, pod, own},
		"the node's":         {corev1.PodSpec{HostNetwork: true, HostIPC: true, HostPID: true}, "", node, node, node},
		"shared":             {corev1.PodSpec{ShareProcessNamespace: ptr.To(true)}, "", pod, pod, pod},
		"a target":           {corev1.PodSpec{}, "x", pod, pod, target},
		"a target of shared": {corev1.PodSpec{ShareProcessNamespace: ptr.To(true)}, "x", pod, pod, pod},
	} {
		got := containerNamespaces(&corev1.Pod{Spec: test.spec}, test.target)
		if got.Network != test.network || got.Ipc != test.ipc || got.Pid != test.pid || (got.TargetId != "") != (test.pid == target) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSandbox(t *testing.T) {
	p := secured(&corev1.SecurityContext{Privileged: ptr.To(true)}, &corev1.PodSecurityContext{RunAsGroup: ptr.To[int64](4), FSGroup: ptr.To[int64](5)})
	got, err := Sandbox(p)
	if err != nil || !got.Privileged || got.RunAsGroup != nil || len(got.SupplementalGroups) != 1 || got.NamespaceOptions == nil {
		t.Errorf("sandbox %v, %v", got, err)
	}
	p.Spec.SecurityContext.RunAsUser = ptr.To[int64](3)
	if got, err = Sandbox(p); err != nil || got.RunAsGroup == nil {
		t.Errorf("sandbox %v, %v", got, err)
	}
	p.Spec.HostUsers = ptr.To(false)
	if _, err := Sandbox(p); err == nil {
		t.Error("a user namespace was promised")
	}
}

func TestSysctls(t *testing.T) {
	for name, test := range map[string]struct {
		sysctl string
		spec   corev1.PodSpec
		want   string
	}{
		"safe":            {"net.ipv4.ip_unprivileged_port_start", corev1.PodSpec{}, ""},
		"with slashes":    {"net/ipv4/tcp_rmem", corev1.PodSpec{}, ""},
		"not safe":        {"kernel.msgmax", corev1.PodSpec{}, "not one that pods may set"},
		"of the node":     {"net.ipv4.tcp_rmem", corev1.PodSpec{HostNetwork: true}, "shares that namespace"},
		"ipc of the node": {"kernel.shm_rmid_forced", corev1.PodSpec{HostIPC: true}, "shares that namespace"},
	} {
		test.spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: test.sysctl, Value: "1"}}}
		got, err := Sysctls(&corev1.Pod{Spec: test.spec})
		if test.want == "" && (err != nil || got[strings.ReplaceAll(test.sysctl, "/", ".")] != "1") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if got, err := Sysctls(podOf()); got != nil || err != nil {
		t.Errorf("of none: %v, %v", got, err)
	}
}
