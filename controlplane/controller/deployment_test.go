package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

var deploymentsAndSets = []build{newDeployments, newReplicaSets}

func deployment(replicas int32, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: web}, Template: template("v1", web),
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
				},
			},
			RevisionHistoryLimit: ptr.To[int32](10), ProgressDeadlineSeconds: ptr.To[int32](600),
		},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func recreate(d *appsv1.Deployment) {
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
}

func image(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = name }
}

func (w *world) sets() []*appsv1.ReplicaSet { return all[*appsv1.ReplicaSet](w, replicaSetsResource) }

// setOf finds the ReplicaSet of an image.
func (w *world) setOf(image string) *appsv1.ReplicaSet {
	for _, rs := range w.sets() {
		if rs.Spec.Template.Spec.Containers[0].Image == image {
			return rs
		}
	}
	w.t.Fatalf("no ReplicaSet of %s", image)
	return nil
}

// rolledOut is what kubectl rollout status waits for.
func rolledOutStatus(d *appsv1.Deployment) bool {
	s, want := d.Status, *d.Spec.Replicas
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas >= want && s.Replicas <= s.UpdatedReplicas &&
		s.AvailableReplicas >= s.UpdatedReplicas
}

func deploymentCondition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, c := range d.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return appsv1.DeploymentCondition{}
}

func TestDeploymentRollsOut(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, always, func() {
			w.settle(10 * time.Second)
			d := get(w, deployment(3))
			if !rolledOutStatus(d) || deploymentCondition(d, conditionProgressing).Reason != "NewReplicaSetAvailable" ||
				deploymentCondition(d, conditionAvailable).Status != corev1.ConditionTrue || d.Annotations[annotationRevision] != "1" {
				t.Fatalf("not rolled out: %v %+v", d.Annotations, d.Status)
			}
			edit(w, deployment(3), image("v2"))
			w.settle(30 * time.Second)
			d = get(w, deployment(3))
			if !rolledOutStatus(d) || d.Annotations[annotationRevision] != "2" {
				t.Fatalf("not rolled out: %v %+v", d.Annotations, d.Status)
			}
			v1, v2 := w.setOf("v1"), w.setOf("v2")
			hash := v2.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
			if hash == "" || v2.Name != "web-"+hash || v2.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash ||
				v2.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
				t.Errorf("hash label: %s %v", v2.Name, v2.Labels)
			}
			if *v1.Spec.Replicas != 0 || *v2.Spec.Replicas != 3 || revision(v1) != 1 || revision(v2) != 2 {
				t.Errorf("v1 %d of revision %d, v2 %d of revision %d", *v1.Spec.Replicas, revision(v1), *v2.Spec.Replicas, revision(v2))
			}
			if !w.hadEvent("Normal ScalingReplicaSet Scaled up replica set web-") {
				t.Error("no event tells of the scaling")
			}
		})
	}, deployment(3))
}

// TestDeploymentRollback does what kubectl rollout undo does: it writes the template of an old ReplicaSet back.
func TestDeploymentRollback(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, always, func() {
			for _, v := range []string{"v2", "v3"} {
				w.settle(30 * time.Second)
				edit(w, deployment(2), func(d *appsv1.Deployment) {
					image(v)(d)
					d.Annotations["kubernetes.io/change-cause"] = "go to " + v
				})
			}
			w.settle(30 * time.Second)
			edit(w, deployment(2), func(d *appsv1.Deployment) {
				d.Spec.Template = *w.setOf("v1").Spec.Template.DeepCopy()
				delete(d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
				delete(d.Annotations, "kubernetes.io/change-cause")
			})
			w.settle(30 * time.Second)
			d := get(w, deployment(2))
			if !rolledOutStatus(d) || d.Annotations[annotationRevision] != "4" {
				t.Fatalf("not rolled back: %v %+v", d.Annotations, d.Status)
			}
			if n := len(w.sets()); n != 3 {
				t.Errorf("%d ReplicaSets, want 3: the old one is used again", n)
			}
			v1, v2 := w.setOf("v1"), w.setOf("v2")
			if *v1.Spec.Replicas != 2 || revision(v1) != 4 || v1.Annotations[annotationRevisionHistory] != "1" {
				t.Errorf("v1: %d, %v", *v1.Spec.Replicas, v1.Annotations)
			}
			if v2.Annotations["kubernetes.io/change-cause"] != "go to v2" {
				t.Errorf("the cause of a change is lost: %v", v2.Annotations)
			}
		})
	}, deployment(2))
}

func TestDeploymentRecreate(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.settle(time.Second)
		for _, p := range w.pods() {
			w.run(p)
		}
		w.settle(time.Second)
		edit(w, deployment(2), image("v2"))
		w.settle(time.Minute) // the old pods take long to end
		if pods := w.pods(); len(pods) != 2 || pods[0].DeletionTimestamp == nil || pods[1].DeletionTimestamp == nil {
			t.Fatalf("%d pods while the old ones are ending", len(pods))
		}
		w.kill(w.pods()[0])
		w.settle(time.Second)
		if n := len(w.live()); n != 0 {
			t.Fatalf("%d new pods while one old is ending", n)
		}
		w.kill(w.pods()[0])
		w.settle(time.Second)
		live := w.live()
		if len(live) != 2 || live[0].Spec.Containers[0].Image != "v2" {
			t.Fatalf("%d new pods", len(live))
		}
	}, deployment(2, recreate))
}

func TestDeploymentDeadline(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image != "broken" }, func() {
			w.settle(10 * time.Second)
			edit(w, deployment(2), image("broken"))
			w.settle(55 * time.Second)
			if c := deploymentCondition(get(w, deployment(2)), conditionProgressing); c.Status != corev1.ConditionTrue {
				t.Fatalf("gave up early: %+v", c)
			}
			w.settle(10 * time.Second)
			d := get(w, deployment(2))
			c := deploymentCondition(d, conditionProgressing)
			if c.Status != corev1.ConditionFalse || c.Reason != "ProgressDeadlineExceeded" {
				t.Fatalf("condition %+v", c)
			}
			if d.Status.AvailableReplicas != 2 || deploymentCondition(d, conditionAvailable).Status != corev1.ConditionTrue {
				t.Errorf("the old pods do not serve: %+v", d.Status)
			}
			edit(w, deployment(2), image("mended"))
			w.settle(30 * time.Second)
			if d := get(w, deployment(2)); !rolledOutStatus(d) || deploymentCondition(d, conditionProgressing).Reason != "NewReplicaSetAvailable" {
				t.Errorf("after the repair: %+v", d.Status)
			}
		})
	}, deployment(2, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60) }))
}

// TestDeploymentRollbackAfterLong rolls back long after the last rollout: the deadline runs anew.
func TestDeploymentRollbackAfterLong(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		slow := func(p *corev1.Pod) bool { return time.Since(p.CreationTimestamp.Time) > 20*time.Second }
		w.withNode(time.Second, slow, func() {
			w.settle(time.Hour)
			edit(w, deployment(1), image("v2"))
			w.settle(time.Hour)
			edit(w, deployment(1), image("v1"))
			for range 40 {
				w.settle(time.Second)
				if c := deploymentCondition(get(w, deployment(1)), conditionProgressing); c.Status == corev1.ConditionFalse {
					t.Fatalf("timed out at once: %+v", c)
				}
			}
			if d := get(w, deployment(1)); !rolledOutStatus(d) {
				t.Errorf("status %+v", d.Status)
			}
		})
	}, deployment(1, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60) }))
}

func TestDeploymentPause(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, always, func() {
			w.settle(10 * time.Second)
			edit(w, deployment(2), func(d *appsv1.Deployment) { d.Spec.Paused = true; image("v2")(d) })
			w.settle(time.Hour)
			d := get(w, deployment(2))
			if n := len(w.sets()); n != 1 || deploymentCondition(d, conditionProgressing).Reason != "DeploymentPaused" {
				t.Fatalf("%d ReplicaSets, %+v", n, d.Status)
			}
			edit(w, deployment(2), func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](4) })
			w.settle(10 * time.Second)
			if n := len(w.live()); n != 4 {
				t.Errorf("a paused Deployment was not scaled: %d pods", n)
			}
			edit(w, deployment(2), func(d *appsv1.Deployment) { d.Spec.Paused = false })
			w.settle(30 * time.Second)
			if d := get(w, deployment(2)); !rolledOutStatus(d) || *w.setOf("v2").Spec.Replicas != 4 {
				t.Errorf("after the pause: %+v", d.Status)
			}
		})
	}, deployment(2))
}

func TestDeploymentScalesProportionally(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "v1" }, func() {
			w.settle(20 * time.Second)
			edit(w, deployment(10), image("v2"))
			w.settle(20 * time.Second) // stuck with 8 old and 5 new
			if a, b := *w.setOf("v1").Spec.Replicas, *w.setOf("v2").Spec.Replicas; a != 8 || b != 5 {
				t.Fatalf("%d old and %d new", a, b)
			}
			edit(w, deployment(10), func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](20) })
			w.settle(20 * time.Second)
			if a, b := *w.setOf("v1").Spec.Replicas, *w.setOf("v2").Spec.Replicas; a != 14 || b != 9 {
				t.Errorf("%d old and %d new, want 14 and 9", a, b)
			}
		})
	}, deployment(10, func(d *appsv1.Deployment) {
		d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(3))
		d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(2))
	}))
}

func TestDeploymentHistoryLimit(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, always, func() {
			for i := 2; i <= 6; i++ {
				w.settle(20 * time.Second)
				edit(w, deployment(1), image(fmt.Sprint("v", i)))
			}
			w.settle(20 * time.Second)
			if sets := w.sets(); len(sets) != 3 {
				t.Errorf("%d ReplicaSets, want the present one and two old ones", len(sets))
			}
			w.setOf("v4")
			w.setOf("v5")
		})
	}, deployment(1, func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = ptr.To[int32](2) }))
}

// TestDeploymentNameTaken has a stranger's ReplicaSet in the place of the one to be made.
func TestDeploymentNameTaken(t *testing.T) {
	d := deployment(1)
	hash, err := templateHash(&d.Spec.Template, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := replicaSet(0)
	other.Name = "web-" + hash
	other.Spec.Selector, other.Spec.Template = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, template("x", map[string]string{"app": "other"})
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.settle(time.Second)
		if got := get(w, d).Status.CollisionCount; ptr.Deref(got, 0) != 1 {
			t.Errorf("collisions %v", got)
		}
		if n := len(w.sets()); n != 2 || len(w.live()) != 1 {
			t.Errorf("%d ReplicaSets, %d pods", n, len(w.live()))
		}
	}, other, d)
}

// TestDeploymentUnderLag rolls random Deployments while caches lag and pods come up in random order, and watches the
// real pods all the time: never too many, never too few available, and it converges.
func TestDeploymentUnderLag(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			w := newWorld(t)
			want := int32(1 + r.IntN(10))
			d := deployment(want, func(d *appsv1.Deployment) {
				d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(int32(r.IntN(4))))
				d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(int32(r.IntN(3))))
			})
			w.create(d)
			w.start(deploymentsAndSets...)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				dice := rand.New(rand.NewPCG(seed, 55))
				w.nodeAgent(ctx, 300*time.Millisecond, func(*corev1.Pod) bool { return dice.IntN(4) == 0 })
				close(done)
			}()
			w.settle(time.Minute)
			w.mu.Lock()
			w.lag[podsResource] = time.Duration(r.IntN(2000)) * time.Millisecond
			w.lag[replicaSetsResource] = time.Duration(r.IntN(2000)) * time.Millisecond
			w.lag[deploymentsResource] = time.Duration(r.IntN(1000)) * time.Millisecond
			w.mu.Unlock()
			b := boundsOf(d)
			for i := range 6 {
				edit(w, d, image(fmt.Sprint("v", i+2)))
				watchRollout(t, w, d, b, seed, r.IntN(100)) // often the next one comes in the middle
			}
			watchRollout(t, w, d, b, seed, 4000)
			if fresh := get(w, d); !through(fresh) {
				t.Errorf("seed %d: never through: %+v", seed, fresh.Status)
			}
			cancel()
			<-done
			w.stop()
		})
		if t.Failed() {
			return
		}
	}
}

// watchRollout looks at the pods for so many twentieths of a second, or until the rollout is through.
func watchRollout(t *testing.T, w *world, d *appsv1.Deployment, b bounds, seed uint64, looks int) {
	t.Helper()
	for range looks {
		w.settle(50 * time.Millisecond)
		available := int32(0)
		live := w.live()
		for _, p := range live {
			if ready(p) {
				available++
			}
		}
		if int32(len(live)) > b.most || available < b.least {
			t.Fatalf("seed %d: %d pods of at most %d, %d available of at least %d", seed, len(live), b.most, available, b.least)
		}
		if through(get(w, d)) {
			return
		}
	}
}

func through(d *appsv1.Deployment) bool {
	return rolledOutStatus(d) && deploymentCondition(d, conditionProgressing).Reason == reasonSetAvailable
}

// TestDeploymentCountsWhatItJustMade changes the template again before the cache shows the ReplicaSet of the last one.
func TestDeploymentCountsWhatItJustMade(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.mu.Lock()
		w.lag[replicaSetsResource] = time.Minute
		w.mu.Unlock()
		for i := range 4 {
			edit(w, deployment(4), image(fmt.Sprint("v", i+2)))
			w.settle(time.Second)
			var total int32
			for _, rs := range w.sets() {
				total += *rs.Spec.Replicas
			}
			if total > 5 {
				t.Fatalf("%d pods wanted in all, at most 5 are allowed", total)
			}
		}
	}, deployment(4))
}

// TestDeploymentRollbackThatCannotMove goes back to an old template while no pod can be made.
func TestDeploymentRollbackThatCannotMove(t *testing.T) {
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, always, func() {
			w.settle(time.Minute)
			edit(w, deployment(1), image("v2"))
			w.settle(time.Minute)
			w.setFault(func(verb string, obj api.Object) error {
				if _, ok := obj.(*corev1.Pod); ok && verb == "create" {
					return errors.New("quota is used up")
				}
				return nil
			})
			edit(w, deployment(1), image("v1"))
			w.settle(2 * time.Minute)
			d := get(w, deployment(1))
			if c := deploymentCondition(d, conditionProgressing); c.Reason != "ProgressDeadlineExceeded" {
				t.Errorf("condition %+v", c)
			}
			if c := deploymentCondition(d, appsv1.DeploymentReplicaFailure); c.Status != corev1.ConditionTrue {
				t.Errorf("the ReplicaSet's trouble is not passed on: %+v", d.Status.Conditions)
			}
		})
	}, deployment(1, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60) }))
}

// TestDeploymentSlowProgress takes longer than the deadline in all, but never without progress for so long.
func TestDeploymentSlowProgress(t *testing.T) {
	slow := func(p *corev1.Pod) bool { return time.Since(p.CreationTimestamp.Time) > 50*time.Second }
	inWorld(t, deploymentsAndSets, func(w *world) {
		w.withNode(time.Second, slow, func() {
			for range 5 {
				w.settle(50 * time.Second)
				if c := deploymentCondition(get(w, deployment(4)), conditionProgressing); c.Status == corev1.ConditionFalse {
					t.Fatalf("timed out while it came forward: %+v", c)
				}
				edit(w, deployment(4), func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"roll": "on"} })
			}
			w.settle(50 * time.Second)
			if d := get(w, deployment(4)); !through(d) {
				t.Errorf("status %+v", d.Status)
			}
		})
	}, deployment(4, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60) }))
}

func TestTemplateHash(t *testing.T) {
	a, b := template("v1", web), template("v2", web)
	hash := func(tmpl *corev1.PodTemplateSpec, n *int32) string {
		h, err := templateHash(tmpl, n)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if hash(&a, nil) != hash(a.DeepCopy(), ptr.To[int32](0)) {
		t.Error("the same template has two hashes")
	}
	if hash(&a, nil) == hash(&b, nil) || hash(&a, nil) == hash(&a, ptr.To[int32](1)) {
		t.Error("a change makes no difference")
	}
	if strings.ContainsAny(hash(&a, nil), "aeiou013") {
		t.Error("the hash can spell words")
	}
}

func TestAppendRevision(t *testing.T) {
	list := ""
	for i := 1; i <= 3; i++ {
		list = appendRevision(list, fmt.Sprint(i))
	}
	if list != "1,2,3" {
		t.Errorf("got %q", list)
	}
	for i := range 2000 {
		list = appendRevision(list, fmt.Sprint(i))
	}
	if len(list) > revisionHistoryBytes || !strings.HasSuffix(list, ",1999") {
		t.Errorf("%d bytes, ends %q", len(list), list[len(list)-10:])
	}
}
