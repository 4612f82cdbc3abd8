package resource

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

func TestUpdateIsGuardedByTheRevision(t *testing.T) {
	ns, c := space(t), shared.Client("test")
	first := create(t, newConfigMap(ns, "cm"))
	second := first.DeepCopy()
	second.Data["k"] = "new"
	if _, err := c.Update(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	first.Data["k"] = "late"
	if _, err := c.Update(t.Context(), first); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "modified") {
		t.Fatalf("stale update: %v", err)
	}
	first.ResourceVersion = ""
	out, err := c.Update(t.Context(), first)
	if err != nil || out.(*corev1.ConfigMap).Data["k"] != "late" {
		t.Fatalf("unconditional update: %v, %v", out, err)
	}
	first.UID = "other"
	if _, err := c.Update(t.Context(), first); !apierrors.IsConflict(err) {
		t.Fatalf("update of another incarnation: %v", err)
	}
	first.UID, first.ResourceVersion = "", "not a number"
	if _, err := c.Update(t.Context(), first); !apierrors.IsInvalid(err) {
		t.Fatalf("resourceVersion that is no number: %v", err)
	}
	if _, err := c.Update(t.Context(), newConfigMap(ns, "missing")); !apierrors.IsNotFound(err) {
		t.Fatalf("update of nothing: %v", err)
	}
}

func TestUpdateThatChangesNothingKeepsTheRevision(t *testing.T) {
	ns, c := space(t), shared.Client("test")
	objects := []api.Object{newPod(ns, "p"), newDeployment(ns, "d"), newConfigMap(ns, "cm"), newApp(ns, "app"), newJob(ns, "j"),
		&corev1.Service{ObjectMeta: meta1(ns, "s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}}
	for _, obj := range objects {
		made := create(t, obj)
		same, err := c.Update(t.Context(), made)
		if err != nil || same.GetResourceVersion() != made.GetResourceVersion() {
			t.Errorf("%T: %v, revision %s became %s", obj, err, made.GetResourceVersion(), same.GetResourceVersion())
		}
	}
	p := read(t, newPod(ns, "p"))
	p.Status.Message = "hello"
	changed, err := c.UpdateStatus(t.Context(), p)
	if err != nil || changed.GetResourceVersion() == p.ResourceVersion {
		t.Fatalf("status: %v", err)
	}
	again, err := c.UpdateStatus(t.Context(), changed)
	if err != nil || again.GetResourceVersion() != changed.GetResourceVersion() {
		t.Errorf("same status: %v, revision %s became %s", err, changed.GetResourceVersion(), again.GetResourceVersion())
	}
}

func TestSpecAndStatusAreWrittenApart(t *testing.T) {
	ns, c := space(t), shared.Client("test")
	d := create(t, newDeployment(ns, "d"))
	d.Status.Replicas, d.Spec.Paused = 5, true
	out, err := c.Update(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*appsv1.Deployment)
	if got.Status.Replicas != 0 || !got.Spec.Paused || got.Generation != 2 {
		t.Errorf("after update: replicas %d, paused %v, generation %d", got.Status.Replicas, got.Spec.Paused, got.Generation)
	}
	got.Status.Replicas, got.Spec.Paused = 5, false
	if out, err = c.UpdateStatus(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = out.(*appsv1.Deployment)
	if got.Status.Replicas != 5 || !got.Spec.Paused || got.Generation != 2 {
		t.Errorf("after status update: replicas %d, paused %v, generation %d", got.Status.Replicas, got.Spec.Paused, got.Generation)
	}

	app := create(t, newApp(ns, "a"))
	app.Status.URL = "http://nowhere"
	app.Spec.Args = []string{"x"}
	out, err = c.Update(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if a := out.(*api.App); a.Status.URL != "" || a.Generation != 2 || *a.Spec.Replicas != 1 {
		t.Errorf("app after update: url %q, generation %d", a.Status.URL, a.Generation)
	}
	app = out.(*api.App)
	app.Status.URL, app.Spec.Args = "http://a.localhost", nil
	if out, err = c.UpdateStatus(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if a := out.(*api.App); a.Status.URL != "http://a.localhost" || len(a.Spec.Args) != 1 || a.Generation != 2 {
		t.Errorf("app after status update: %+v", a)
	}
}

func TestImmutableFields(t *testing.T) {
	ns, c := space(t), shared.Client("test")
	job := create(t, newJob(ns, "j"))
	job.Spec.Template.Spec.Containers[0].Image = "other"
	pod := create(t, newPod(ns, "p"))
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "d", Image: "x"})
	dep := create(t, newDeployment(ns, "d"))
	dep.Spec.Selector.MatchLabels["more"] = "y"
	svc := create(t, &corev1.Service{ObjectMeta: meta1(ns, "s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}})
	svc.Spec.ClusterIP = "127.43.7.7"
	named := create(t, newConfigMap(ns, "cm"))
	revision := create(t, &api.Revision{ObjectMeta: meta1(ns, "a-v1"), Spec: api.RevisionSpec{App: "a", Version: 1, AppTemplate: newApp(ns, "a").Spec.AppTemplate}})
	revision.Spec.Args = []string{"x"}
	for _, obj := range []api.Object{job, pod, dep, svc, revision} {
		if _, err := c.Update(t.Context(), obj); !apierrors.IsInvalid(err) {
			t.Errorf("%T: %v", obj, err)
		}
	}
	d := must(corev1.SchemeGroupVersion.WithResource("configmaps"))
	if _, _, err := shared.Update(t.Context(), d, call(ns, "other"), named); !apierrors.IsBadRequest(err) {
		t.Errorf("another name than the request's: %v", err)
	}
}

func TestUpdateMakesALeaseThatIsMissing(t *testing.T) {
	ns := space(t)
	d := must(coordinationv1.SchemeGroupVersion.WithResource("leases"))
	lease := &coordinationv1.Lease{ObjectMeta: meta1(ns, "l")}
	out, created, err := shared.Update(t.Context(), d, call(ns, "l"), lease.DeepCopy())
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if _, created, err = shared.Update(t.Context(), d, call(ns, "l"), out); err != nil || created {
		t.Fatalf("second time: created %v, %v", created, err)
	}
}

func TestDryUpdateChangesNothing(t *testing.T) {
	ns := space(t)
	cm := create(t, newConfigMap(ns, "cm"))
	c := call(ns, "cm")
	c.DryRun = true
	next := cm.DeepCopy()
	next.Data["k"] = "dry"
	out, _, err := shared.Update(t.Context(), must(corev1.SchemeGroupVersion.WithResource("configmaps")), c, next)
	if err != nil || out.(*corev1.ConfigMap).Data["k"] != "dry" {
		t.Fatalf("%v, %v", out, err)
	}
	if got := read(t, newConfigMap(ns, "cm")); got.Data["k"] != "v" || got.ResourceVersion != cm.ResourceVersion {
		t.Errorf("after a dry run: %+v", got)
	}
}

func TestManagedFieldsSayWhoWroteWhat(t *testing.T) {
	ns := space(t)
	create(t, newDeployment(ns, "d"))
	modify[*appsv1.Deployment](t, deployments(), Call{Namespace: ns, Name: "d", Manager: "scaler"}, `{"spec":{"replicas":3}}`)
	c := Call{Namespace: ns, Name: "d", Manager: "status", Subresource: "status"}
	modify[*appsv1.Deployment](t, deployments(), c, `{"status":{"replicas":3},"spec":{"replicas":9}}`)
	got := read(t, newDeployment(ns, "d"))
	if *got.Spec.Replicas != 3 {
		t.Fatalf("the status wrote the spec: %d", *got.Spec.Replicas)
	}
	owners := map[string]string{}
	for _, e := range got.ManagedFields {
		owners[e.Manager+"/"+e.Subresource] = string(e.FieldsV1.Raw)
	}
	if s := owners["scaler/"]; s != `{"f:spec":{"f:replicas":{}}}` {
		t.Errorf("scaler owns %s", s)
	}
	if s := owners["status/status"]; s != `{"f:status":{"f:replicas":{}}}` {
		t.Errorf("status owns %s", s)
	}
	if s := owners["test/"]; s == "" || strings.Contains(s, "f:replicas") {
		t.Errorf("test owns %s", quieter(s))
	}
}

// The cached way to a new object's owners has to lead to the same place.
func TestOwnershipOfCopiesIsTheSame(t *testing.T) {
	m, now := newManagers(), shared.now()
	for i, obj := range []api.Object{newPod("x", "p"), newDeployment("x", "d"), newJob("x", "j"), newConfigMap("x", "c")} {
		d, _, err := shared.Client("test").find(obj)
		if err != nil {
			t.Fatal(err)
		}
		var fields [2]string
		for round := range fields {
			o := own(d, obj).(api.Object)
			o.SetName(obj.GetName() + string(rune('a'+round)))
			d.Rules.Default(o)
			out, err := m.created(d, Call{Manager: "test"}, now, o)
			if err != nil {
				t.Fatal(err)
			}
			e := out.(api.Object).GetManagedFields()
			if len(e) != 1 || e[0].Manager != "test" || e[0].Operation != metav1.ManagedFieldsOperationUpdate || e[0].Time == nil {
				t.Fatalf("entries %v", e)
			}
			fields[round] = string(e[0].FieldsV1.Raw)
		}
		if fields[0] != fields[1] || len(m.ownerships.known) != i+1 {
			t.Errorf("%T: %d known\n%s\n%s", obj, len(m.ownerships.known), fields[0], fields[1])
		}
	}
}

// Leaving out what a write does not touch has to lead to the same owners too.
func TestOwnershipIsTheSameWithoutTheRest(t *testing.T) {
	m := newManagers()
	d := pods()
	live := newPod("x", "p")
	live.SetGroupVersionKind(d.GVK)
	live.UID = "u"
	d.Rules.Default(live)
	out, err := m.created(d, Call{Manager: "maker"}, shared.now(), live)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		manager, subresource string
		change               func(*corev1.Pod)
	}{
		{"node", "status", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: "A", Status: "True"}, {Type: "B", Status: "True"}}
		}},
		{"labeller", "", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }},
		{"other", "status", func(p *corev1.Pod) { p.Status.Conditions[0].Status = "False" }},
		{"other", "status", func(p *corev1.Pod) { p.Status.Conditions = p.Status.Conditions[1:]; p.Labels = nil }},
		{"setter", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other"; p.Status.Phase = corev1.PodFailed }},
	} {
		c := Call{Manager: step.manager, Subresource: step.subresource}
		next := out.DeepCopyObject().(*corev1.Pod)
		step.change(next)
		fm, err := m.get(d, step.subresource)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := fm.Update(out.DeepCopyObject(), next.DeepCopy(), step.manager)
		if err != nil {
			t.Fatal(err)
		}
		if out, err = m.updated(d, c, out, next); err != nil {
			t.Fatal(err)
		}
		a, b := whole.(*corev1.Pod).ManagedFields, out.(*corev1.Pod).ManagedFields
		if !sameOwners(a, b) || len(b) == 0 {
			t.Errorf("%s %s:\n%v\n%v", step.manager, step.subresource, a, b)
		}
		if out.(*corev1.Pod).Spec.Containers == nil {
			t.Fatal("the object itself was thinned")
		}
	}
}
