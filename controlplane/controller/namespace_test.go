package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

var onlyNamespaces = []build{newNamespaces}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func configMap(namespace, name string, finalizers ...string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: finalizers}}
}

func namespaceCondition(ns *corev1.Namespace, kind corev1.NamespaceConditionType) corev1.NamespaceCondition {
	for _, c := range ns.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NamespaceCondition{}
}

func TestNamespaceIsEmptiedAndGoes(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "old", Name: "p"}, Spec: corev1.PodSpec{NodeName: "node"}}
	inWorld(t, onlyNamespaces, func(w *world) {
		w.settle(time.Minute)
		if !w.exists(namespace("old")) || !w.exists(configMap("old", "a")) {
			t.Fatal("emptied though nobody deleted it")
		}
		w.delete(namespace("old"), metav1.DeletePropagationBackground)
		w.settle(10 * time.Second)
		if !w.exists(configMap("old", "a")) {
			t.Error("a ConfigMap went before the pod that may use it")
		}
		if get(w, pod).DeletionTimestamp == nil {
			t.Error("the pod was not asked to go")
		}
		ns := get(w, namespace("old"))
		c := namespaceCondition(ns, corev1.NamespaceContentRemaining)
		if ns.Status.Phase != corev1.NamespaceTerminating || c.Status != corev1.ConditionTrue || !strings.Contains(c.Message, "pods (1)") || len(ns.Status.Conditions) != 5 {
			t.Errorf("status %+v", ns.Status)
		}
		w.kill(pod)
		w.settle(2 * time.Second)
		if w.exists(configMap("old", "a")) || !w.exists(namespace("old")) || !w.exists(configMap("old", "held")) {
			t.Error("the rest did not go, or too much went")
		}
		c = namespaceCondition(get(w, namespace("old")), corev1.NamespaceFinalizersRemaining)
		if c.Status != corev1.ConditionTrue || !strings.Contains(c.Message, "example.com/hold (1)") {
			t.Errorf("condition %+v", c)
		}
		edit(w, configMap("old", "held"), func(c *corev1.ConfigMap) { c.Finalizers = nil })
		w.settle(5 * time.Second)
		if w.exists(namespace("old")) {
			t.Errorf("still there: %+v", get(w, namespace("old")).Status)
		}
		if !w.exists(configMap("kept", "a")) || !w.exists(namespace("kept")) {
			t.Error("another namespace was touched")
		}
	}, namespace("old"), namespace("kept"), configMap("old", "a"), configMap("old", "held", "example.com/hold"), configMap("kept", "a"), pod)
}

func TestNamespaceContentFailure(t *testing.T) {
	inWorld(t, onlyNamespaces, func(w *world) {
		w.setFault(func(verb string, obj api.Object) error {
			if _, ok := obj.(*corev1.ConfigMap); ok && verb == "delete" {
				return errors.New("refused by somebody")
			}
			return nil
		})
		w.delete(namespace("old"), metav1.DeletePropagationBackground)
		w.settle(5 * time.Second)
		c := namespaceCondition(get(w, namespace("old")), corev1.NamespaceDeletionContentFailure)
		if c.Status != corev1.ConditionTrue || !strings.Contains(c.Message, "configmaps: refused by somebody") {
			t.Errorf("condition %+v", c)
		}
		writes := w.count("status Namespace")
		w.settle(time.Minute)
		if w.count("status Namespace") != writes {
			t.Error("the same news is written again and again")
		}
		w.setFault(nil)
		w.settle(lastNamespacePoll + 5*time.Second)
		if w.exists(namespace("old")) {
			t.Error("still there after the trouble was over")
		}
	}, namespace("old"), configMap("old", "a"))
}

// TestNamespaceWaitsForLateObjects has an object appear that was on its way when the namespace was marked.
func TestNamespaceWaitsForLateObjects(t *testing.T) {
	inWorld(t, onlyNamespaces, func(w *world) {
		w.delete(namespace("old"), metav1.DeletePropagationBackground)
		w.settle(300 * time.Millisecond)
		w.mu.Lock()
		late := configMap("old", "late")
		late.UID = "late"
		w.store(w.infoOf(late), late, "ADDED")
		w.mu.Unlock()
		w.settle(10 * time.Second)
		if w.exists(configMap("old", "late")) {
			t.Error("the namespace went and left an object behind")
		}
		if w.exists(namespace("old")) {
			t.Error("still there")
		}
	}, namespace("old"))
}

func TestPollAfter(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0: firstNamespacePoll, 10 * time.Second: time.Second, time.Hour: lastNamespacePoll,
	} {
		if got := pollAfter(age); got != want {
			t.Errorf("after %s: %s, want %s", age, got, want)
		}
	}
}
