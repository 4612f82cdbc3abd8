package api

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func validApp() *App {
	return &App{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "default"},
		Spec: AppSpec{
			Replicas: ptr.To[int32](2),
			AppTemplate: AppTemplate{
				Image: "registry.petrel.internal/default/hello@sha256:" + strings.Repeat("ab", 32),
				Env:   []corev1.EnvVar{{Name: "GREETING", Value: "hi"}},
				Args:  []string{"-v"},
				Limits: Limits{
					Memory:      ptr.To(resource.MustParse("64Mi")),
					WallTime:    &metav1.Duration{Duration: 10 * time.Second},
					Concurrency: ptr.To[int32](8),
				},
			},
		},
	}
}

func TestValidateApp(t *testing.T) {
	cases := []struct {
		name   string
		change func(*App)
		field  string // of the only error; empty: valid
	}{
		{"valid", func(*App) {}, ""},
		{"empty spec", func(a *App) { a.Spec = AppSpec{} }, ""},
		{"zero replicas", func(a *App) { a.Spec.Replicas = ptr.To[int32](0) }, ""},
		{"name at the limit", func(a *App) { a.Name = strings.Repeat("a", MaxAppNameLength) }, ""},
		{"name beyond the limit", func(a *App) { a.Name = strings.Repeat("a", MaxAppNameLength+1) }, "metadata.name"},
		{"name with capitals", func(a *App) { a.Name = "Hello" }, "metadata.name"},
		{"name with a dot", func(a *App) { a.Name = "a.b" }, "metadata.name"},
		{"no namespace", func(a *App) { a.Namespace = "" }, "metadata.namespace"},
		{"negative replicas", func(a *App) { a.Spec.Replicas = ptr.To[int32](-1) }, "spec.replicas"},
		{"too many replicas", func(a *App) { a.Spec.Replicas = ptr.To[int32](MaxReplicas + 1) }, "spec.replicas"},
		{"negative version", func(a *App) { a.Spec.Version = -1 }, "spec.version"},
		{"image with a space", func(a *App) { a.Spec.Image = "a b" }, "spec.image"},
		{"env without a name", func(a *App) { a.Spec.Env[0].Name = "" }, "spec.env[0].name"},
		{"env with an equals sign", func(a *App) { a.Spec.Env[0].Name = "A=B" }, "spec.env[0].name"},
		{"env twice", func(a *App) { a.Spec.Env = append(a.Spec.Env, a.Spec.Env[0]) }, "spec.env[1].name"},
		{"env value and source", func(a *App) { a.Spec.Env[0].ValueFrom = &corev1.EnvVarSource{} }, "spec.env[0].valueFrom"},
		{"too many env", func(a *App) { a.Spec.Env = make([]corev1.EnvVar, MaxEnv+1) }, "spec.env"},
		{"too many args", func(a *App) { a.Spec.Args = make([]string, MaxArgs+1) }, "spec.args"},
		{"too many bytes", func(a *App) { a.Spec.Args = []string{strings.Repeat("x", MaxConfigBytes)} }, "spec"},
		{"little memory", func(a *App) { a.Spec.Limits.Memory = ptr.To(resource.MustParse("1Ki")) }, "spec.limits.memory"},
		{"much memory", func(a *App) { a.Spec.Limits.Memory = ptr.To(resource.MustParse("5Gi")) }, "spec.limits.memory"},
		{"no wall time", func(a *App) { a.Spec.Limits.WallTime = &metav1.Duration{} }, "spec.limits.wallTime"},
		{"long wall time", func(a *App) { a.Spec.Limits.WallTime.Duration = 2 * time.Hour }, "spec.limits.wallTime"},
		{"no concurrency", func(a *App) { a.Spec.Limits.Concurrency = ptr.To[int32](0) }, "spec.limits.concurrency"},
		{"little CPU time", func(a *App) { a.Spec.Limits.CPUTime = &metav1.Duration{Duration: time.Microsecond} }, ""},
		{"negative CPU time", func(a *App) { a.Spec.Limits.CPUTime = &metav1.Duration{Duration: -1} }, "spec.limits.cpuTime"},
		{"long queue time", func(a *App) { a.Spec.Limits.QueueTime = &metav1.Duration{Duration: time.Hour} }, "spec.limits.queueTime"},
		{"long queue", func(a *App) { a.Spec.Limits.Queue = ptr.To[int32](MaxQueue + 1) }, "spec.limits.queue"},
		{"no call depth", func(a *App) { a.Spec.Limits.CallDepth = ptr.To[int32](0) }, "spec.limits.callDepth"},
		{"many files", func(a *App) { a.Spec.Limits.MaxFiles = ptr.To[int32](MaxFiles + 1) }, "spec.limits.maxFiles"},
		{"no request body", func(a *App) { a.Spec.Limits.MaxRequestBody = ptr.To(resource.MustParse("0")) }, "spec.limits.maxRequestBody"},
		{"large response body", func(a *App) { a.Spec.Limits.MaxResponseBody = ptr.To(resource.MustParse("2Ti")) }, "spec.limits.maxResponseBody"},
		{"every isolation", func(a *App) { a.Spec.Isolation = IsolationShared }, ""},
		{"no isolation", func(a *App) { a.Spec.Isolation = "none" }, "spec.isolation"},
		{"every way of HTTP", func(a *App) { a.Spec.HTTP = "http-wasm" }, ""},
		{"no way of HTTP", func(a *App) { a.Spec.HTTP = "HTTP" }, "spec.http"},
		{"egress", func(a *App) { a.Spec.Egress = []string{"tcp:127.0.0.0/8:8000-8999", "https:*.example.com", "*", "dns"} }, ""},
		{"empty egress", func(a *App) { a.Spec.Egress = []string{"dns", ""} }, "spec.egress[1]"},
		{"two in one egress", func(a *App) { a.Spec.Egress = []string{"dns,*"} }, "spec.egress[0]"},
		{"too much egress", func(a *App) { a.Spec.Egress = make([]string, MaxEgress+1) }, "spec.egress"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			app := validApp()
			c.change(app)
			errs := ValidateApp(app)
			switch {
			case c.field == "" && len(errs) > 0:
				t.Fatalf("got %v, want none", errs)
			case c.field != "" && (len(errs) != 1 || errs[0].Field != c.field):
				t.Fatalf("got %v, want one error at %s", errs, c.field)
			}
		})
	}
}

func TestValidateRevision(t *testing.T) {
	app := validApp()
	app.UID = "u1"
	fresh := func() *Revision {
		r := NewRevision(app, 3, app.Spec.AppTemplate)
		r.Spec.Module = &ModuleInfo{Digest: "sha256:" + strings.Repeat("cd", 32), Size: 8, Kind: KindReactor}
		return r
	}
	cases := []struct {
		name   string
		change func(*Revision)
		field  string
	}{
		{"valid", func(*Revision) {}, ""},
		{"module not known", func(r *Revision) { r.Spec.Module = nil }, ""},
		{"another version's name", func(r *Revision) { r.Spec.Version = 4 }, "metadata.name"},
		{"no image", func(r *Revision) { r.Spec.Image = "" }, "spec.image"},
		{"bad digest", func(r *Revision) { r.Spec.Module.Digest = "md5:00" }, "spec.module.digest"},
		{"bad limits", func(r *Revision) { r.Spec.Limits.Concurrency = ptr.To[int32](-1) }, "spec.limits.concurrency"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := fresh()
			c.change(r)
			errs := ValidateRevision(r)
			if c.field == "" && len(errs) > 0 || c.field != "" && (len(errs) != 1 || errs[0].Field != c.field) {
				t.Fatalf("got %v, want %q", errs, c.field)
			}
		})
	}
	t.Run("a version below one", func(t *testing.T) {
		if errs := ValidateRevision(NewRevision(app, 0, app.Spec.AppTemplate)); len(errs) != 1 || errs[0].Field != "spec.version" {
			t.Fatal(errs)
		}
	})
}

func TestRevisionIsImmutable(t *testing.T) {
	app := validApp()
	app.UID = "u1"
	old := NewRevision(app, 1, app.Spec.AppTemplate)
	old.ResourceVersion = "5"
	same := old.DeepCopy()
	same.Labels["note"] = "kept"
	if errs := ValidateRevisionUpdate(same, old); len(errs) > 0 {
		t.Fatal(errs)
	}
	other := old.DeepCopy()
	other.Spec.Env[0].Value = "ho"
	if errs := ValidateRevisionUpdate(other, old); len(errs) != 1 || errs[0].Field != "spec" {
		t.Fatal(errs)
	}
}

func TestValidateAppStatusUpdate(t *testing.T) {
	old := validApp()
	old.ResourceVersion, old.UID = "1", "u1"
	app := old.DeepCopy()
	app.Status.ReadyReplicas = 1
	if errs := ValidateAppStatusUpdate(app, old); len(errs) > 0 {
		t.Fatal(errs)
	}
	app.Status.ActiveVersion = -1
	if errs := ValidateAppStatusUpdate(app, old); len(errs) != 1 || errs[0].Field != "status.activeVersion" {
		t.Fatal(errs)
	}
}
