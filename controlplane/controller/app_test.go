package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
)

const appImage = "registry.petrel.internal/default/hello@sha256:"

// appWorld is a cluster in memory with the App controller at work.
type appWorld struct {
	*testing.T
	store *apptest.Store
	node  *apptest.Node
}

func newAppWorld(t *testing.T, change func(*AppConfig)) *appWorld {
	t.Helper()
	store := apptest.NewStore("default")
	informers := apptest.NewInformers(store)
	config := AppConfig{
		Config: Config{Client: store, Informers: informers, Recorder: &record.FakeRecorder{}},
		URL:    func(_, app string) string { return "http://" + app + ".localhost:8081/" },
	}
	if change != nil {
		change(&config)
	}
	c, err := NewApps(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &appWorld{T: t, store: store, node: &apptest.Node{Store: store, ColdStart: 4200, Compile: 150_000}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	go func() { informers.Run(ctx); done <- struct{}{} }()
	go func() { w.node.Run(ctx); done <- struct{}{} }()
	go func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		cancel()
		for range 3 {
			<-done
		}
	})
	return w
}

func imageOf(n int) string { return appImage + strings.Repeat(fmt.Sprintf("%x", n%16), 64) }

func (w *appWorld) apply(change func(*api.App)) {
	w.Helper()
	w.eventually("the app to be written", func() error {
		app := &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}}
		got, err := w.store.Get(w.Context(), app)
		if apierrors.IsNotFound(err) {
			change(app)
			_, err = w.store.Create(w.Context(), app)
			return err
		}
		change(got.(*api.App))
		_, err = w.store.Update(w.Context(), got)
		return err
	})
}

func (w *appWorld) app() *api.App {
	got, err := w.store.Get(w.Context(), &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}})
	if err != nil {
		return &api.App{}
	}
	return got.(*api.App)
}

func (w *appWorld) eventually(what string, condition func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	w.Fatalf("waited for %s: %v", what, err)
}

// serves waits until a version serves with all its pods.
func (w *appWorld) serves(version int64) *api.App {
	w.Helper()
	var app *api.App
	w.eventually(fmt.Sprintf("version %d to serve", version), func() error {
		app = w.app()
		if app.Status.ActiveVersion != version || app.Status.ObservedGeneration != app.Generation ||
			!meta.IsStatusConditionTrue(app.Status.Conditions, api.AppReady) {
			return fmt.Errorf("%+v", app.Status)
		}
		return nil
	})
	return app
}

func (w *appWorld) becomes(kind, reason string) {
	w.Helper()
	w.eventually(kind+" to be "+reason, func() error {
		cond := meta.FindStatusCondition(w.app().Status.Conditions, kind)
		if cond == nil || cond.Reason != reason {
			return fmt.Errorf("%+v", cond)
		}
		return nil
	})
}

// Only a guest that accepts its connections itself is asked whether it does.
func TestAppReadinessProbe(t *testing.T) {
	app := &api.App{}
	for _, test := range []struct {
		http, kind string
		probed     bool
	}{
		{"", api.KindReactor, false}, {"", api.KindCommand, true}, {"", "", true}, {"auto", api.KindReactor, false}, {"auto", api.KindCommand, true},
		{"reactor", api.KindReactor, false}, {"wagi", api.KindCommand, false}, {"http-wasm", "", false}, {"sockets", api.KindCommand, true},
	} {
		r := api.NewRevision(app, 1, api.AppTemplate{Image: imageOf(1), HTTP: test.http})
		if test.kind != "" {
			r.Spec.Module = &api.ModuleInfo{Kind: test.kind}
		}
		c := corev1.Container{ReadinessProbe: &corev1.Probe{}} // of the version before
		setAppContainer(&c, r)
		if probed := c.ReadinessProbe != nil; probed != test.probed {
			t.Errorf("http %q, kind %q: probed %v", test.http, test.kind, probed)
		}
	}
}

func TestAppMakesItsObjects(t *testing.T) {
	w := newAppWorld(t, nil)
	w.apply(func(a *api.App) {
		a.Spec.Image, a.Spec.Replicas = imageOf(1), ptr.To[int32](3)
		a.Spec.Args = []string{"-v"}
		a.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
		a.Spec.Limits = api.Limits{
			Memory: ptr.To(resource.MustParse("64Mi")), WallTime: &metav1.Duration{Duration: 5 * time.Second}, Concurrency: ptr.To[int32](4),
		}
	})
	app := w.serves(1)
	if app.Status.URL != "http://hello.localhost:8081/" || app.Status.ReadyReplicas != 3 || app.Status.LatestVersion != 1 {
		t.Errorf("status %+v", app.Status)
	}
	w.eventually("the figures", func() error {
		if s := w.app().Status; s.ColdStartMicros != 4200 || s.CompileMicros != 150_000 || s.ColdStart == nil || s.ColdStart.CloneP50Micros != 180 {
			return fmt.Errorf("cold start %d, compile %d", s.ColdStartMicros, s.CompileMicros)
		}
		return nil
	})
	d := apptest.All[*appsv1.Deployment](w.store)[0]
	c := d.Spec.Template.Spec.Containers[0]
	if c.Name != "app" || c.Image != imageOf(1) || c.Args[0] != "-v" || c.Env[0].Value != "b" || c.Ports[0].ContainerPort != 8080 {
		t.Errorf("container %+v", c)
	}
	if got := c.Resources.Limits.Memory().String(); got != "64Mi" {
		t.Errorf("memory limit %s", got)
	}
	if a := d.Spec.Template.Annotations; a[api.AnnotationWallTime] != "5s" || a[api.AnnotationConcurrency] != "4" {
		t.Errorf("annotations %v", a)
	}
	if r := d.Spec.Strategy.RollingUpdate; r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.String() != "25%" {
		t.Errorf("strategy %+v", r)
	}
	s := apptest.All[*corev1.Service](w.store)[0]
	if s.Labels[api.LabelApp] != "hello" || s.Spec.Selector[api.LabelApp] != "hello" || s.Spec.Ports[0].Port != 8080 {
		t.Errorf("service %+v", s)
	}
	for _, owned := range []api.Object{d, s, apptest.All[*api.Revision](w.store)[0]} {
		if !api.IsOwnedBy(owned, app) {
			t.Errorf("%T is not owned by the app", owned)
		}
	}
}

func TestAppTemplateMakesVersions(t *testing.T) {
	w := newAppWorld(t, nil)
	w.apply(func(a *api.App) { a.Spec.Image = imageOf(1) })
	w.serves(1)
	w.apply(func(a *api.App) { a.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "b"}} })
	w.serves(2)
	w.apply(func(a *api.App) { a.Spec.Replicas = ptr.To[int32](2) }) // scaling makes no version
	if app := w.serves(2); app.Status.LatestVersion != 2 {
		t.Errorf("latest version %d", app.Status.LatestVersion)
	}
	w.apply(func(a *api.App) { a.Spec.Env = nil }) // version 1 stands for this
	if app := w.serves(1); app.Status.LatestVersion != 2 {
		t.Errorf("latest version %d", app.Status.LatestVersion)
	}
	// Naming a version that stands for the template chooses it among equals.
	app := w.app()
	if _, err := w.store.Create(t.Context(), api.NewRevision(app, 7, app.Spec.AppTemplate)); err != nil {
		t.Fatal(err)
	}
	w.apply(func(a *api.App) { a.Spec.Version = 7 })
	if app := w.serves(7); app.Status.LatestVersion != 7 {
		t.Errorf("latest version %d", app.Status.LatestVersion)
	}
}

func TestAppResolvesImages(t *testing.T) {
	w := newAppWorld(t, func(c *AppConfig) {
		c.Resolve = func(_ context.Context, _, image string) (string, *api.ModuleInfo, error) {
			if image != "default/hello:v1" {
				return "", nil, errors.New("unknown image " + image)
			}
			return imageOf(5), &api.ModuleInfo{Digest: "sha256:" + strings.Repeat("a", 64), Size: 10, Kind: api.KindReactor}, nil
		}
	})
	w.apply(func(a *api.App) { a.Spec.Image = "default/hello:v1" })
	w.serves(1)
	r := apptest.All[*api.Revision](w.store)[0]
	if r.Spec.Image != imageOf(5) || r.Spec.Source != "default/hello:v1" || r.Spec.Module == nil || r.Spec.Module.Size != 10 {
		t.Errorf("revision %+v", r.Spec)
	}
	w.apply(func(a *api.App) { a.Spec.Replicas = ptr.To[int32](2) })
	w.serves(1) // the tag still stands for version 1
	if n := len(apptest.All[*api.Revision](w.store)); n != 1 {
		t.Errorf("%d revisions", n)
	}
	w.apply(func(a *api.App) { a.Spec.Image = "default/hello:v2" }) // there is none
	w.becomes(api.AppReady, api.ReasonInvalid)
	if d := apptest.All[*appsv1.Deployment](w.store)[0]; d.Spec.Template.Spec.Containers[0].Image != imageOf(5) {
		t.Errorf("the version before was replaced: %s", d.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestAppWithoutAnImage(t *testing.T) {
	w := newAppWorld(t, nil)
	w.apply(func(*api.App) {})
	w.becomes(api.AppReady, api.ReasonNoVersion)
	if n := len(apptest.All[*appsv1.Deployment](w.store)); n != 0 {
		t.Errorf("%d deployments of nothing", n)
	}
}

func TestAppScaledToZero(t *testing.T) {
	w := newAppWorld(t, nil)
	w.apply(func(a *api.App) { a.Spec.Image = imageOf(1) })
	w.serves(1)
	w.eventually("the figures", func() error {
		if w.app().Status.ColdStartMicros == 0 {
			return errors.New("none")
		}
		return nil
	})
	w.apply(func(a *api.App) { a.Spec.Replicas = ptr.To[int32](0) })
	w.becomes(api.AppReady, api.ReasonScaledToZero)
	if s := w.app().Status; s.ColdStartMicros != 4200 || s.Replicas != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestAppLeavesOthersObjectsAlone(t *testing.T) {
	w := newAppWorld(t, nil)
	foreign := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}}
	foreign.Spec.Replicas = ptr.To[int32](0)
	created, err := w.store.Create(t.Context(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	w.apply(func(a *api.App) { a.Spec.Image = imageOf(1) })
	w.becomes(api.AppReady, api.ReasonNameTaken)
	now := apptest.All[*appsv1.Deployment](w.store)[0]
	if now.Spec.Selector != nil || len(now.OwnerReferences) > 0 {
		t.Errorf("took over a foreign deployment: %+v", now.Spec)
	}
	// Once it is gone the app goes on by itself.
	if err := w.store.Delete(t.Context(), created, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.serves(1)
}

func TestAppKeepsTenRevisions(t *testing.T) {
	w := newAppWorld(t, nil)
	const versions = api.RevisionHistoryLimit + 3
	for i := range versions {
		w.apply(func(a *api.App) { a.Spec.Args = []string{fmt.Sprint(i)}; a.Spec.Image = imageOf(1) })
		w.serves(int64(i + 1))
	}
	w.eventually("the oldest revisions to go", func() error {
		left := apptest.All[*api.Revision](w.store)
		for _, r := range left {
			if r.Spec.Version <= versions-api.RevisionHistoryLimit {
				return fmt.Errorf("version %d is still there", r.Spec.Version)
			}
		}
		if len(left) != api.RevisionHistoryLimit {
			return fmt.Errorf("%d revisions", len(left))
		}
		return nil
	})
	w.apply(func(a *api.App) { a.Spec.Args = []string{"0"} }) // version 1 is forgotten: its number is not used again
	w.serves(versions + 1)
}

// An app that was removed leaves its versions for a moment; one of the same name starts at 1 all the same.
func TestAppMadeAnew(t *testing.T) {
	w := newAppWorld(t, nil)
	// The garbage collector has not come to it yet: something else owns it too.
	former := &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello", UID: "former"}}
	former.Spec.Image = imageOf(9)
	left := api.NewRevision(former, 1, former.Spec.AppTemplate)
	other, err := w.store.Get(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	if err != nil {
		t.Fatal(err)
	}
	left.OwnerReferences = append(left.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "Namespace", Name: "default", UID: other.GetUID()})
	if _, err := w.store.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	w.apply(func(a *api.App) { a.Spec.Image = imageOf(1) })
	app := w.serves(1)
	r := apptest.All[*api.Revision](w.store)
	if len(r) != 1 || !api.IsOwnedBy(r[0], app) || r[0].Spec.Image != imageOf(1) {
		t.Errorf("revisions %+v", r)
	}
}

// A step that finds everything as it should be writes nothing: two controllers' defaults would otherwise chase each
// other.
func TestAppObjectsAreAFixedPoint(t *testing.T) {
	app := &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello", UID: "u"}}
	app.Spec.AppTemplate = api.AppTemplate{Image: imageOf(1), Env: []corev1.EnvVar{{
		Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
	}}}
	api.SetAppDefaults(app)
	active := api.NewRevision(app, 1, app.Spec.AppTemplate)
	d := &appsv1.Deployment{}
	setAppDeployment(d, app, active)
	// What the API server and others add.
	d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	d.Spec.Template.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
	d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	d.Annotations = map[string]string{"deployment.kubernetes.io/revision": "1"}
	want := d.DeepCopy()
	setAppDeployment(d, app, active)
	if !equality.Semantic.DeepEqual(want, d) {
		t.Errorf("a second step changes %+v to %+v", want, d)
	}
	if ref := d.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.FieldRef; ref.APIVersion != "v1" {
		t.Errorf("field reference %+v", ref)
	}
	s := &corev1.Service{}
	setAppService(s, app)
	s.Spec.ClusterIP, s.Spec.SessionAffinity = "127.43.0.7", corev1.ServiceAffinityNone
	wantService := s.DeepCopy()
	setAppService(s, app)
	if !equality.Semantic.DeepEqual(wantService, s) {
		t.Errorf("a second step changes %+v to %+v", wantService, s)
	}
}

func TestMeasured(t *testing.T) {
	pod := func(name, version string, age time.Duration, annotations map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{api.LabelVersion: version}, Annotations: annotations,
			CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age)),
		}}
	}
	figures := func(cold, compile, cached string) map[string]string {
		return map[string]string{api.AnnotationColdStartMicros: cold, api.AnnotationCompileMicros: compile, api.AnnotationCompileCached: cached}
	}
	got := measured([]*corev1.Pod{
		pod("a", "2", time.Minute, figures("10", "900", "false")),
		pod("b", "2", time.Second, figures("20", "30", "true")),
		pod("c", "1", 0, figures("99", "99", "false")),
		pod("d", "2", 0, nil),
		pod("e", "2", 0, figures("-1", "many", "")),
	}, 2)
	if got.coldStart != 20 || got.compile != 900 {
		t.Errorf("got %+v", got)
	}
}

func TestAppConfigValidate(t *testing.T) {
	if _, err := NewApps(AppConfig{}); err == nil {
		t.Error("an empty config was taken")
	}
}
