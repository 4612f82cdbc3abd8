package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestScale goes up, down and to nothing.
func TestScale(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.kubectl("scale", "deployment/web", "--replicas=5")
	w.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=150s")
	contains(t, w.kubectlFails("scale", "deployment/web", "--current-replicas=2", "--replicas=1"), "Expected replicas to be 2")
	w.kubectl("scale", "deployment/web", "--replicas=0")
	w.kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=150s")
	matches(t, w.kubectl("get", "deployment", "web"), `^web +0/0 +0 +0 `)
	w.becomes(w.appURL("web"), 503, "")
}

// TestRollout rolls forward, back, and restarts.
func TestRollout(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")

	w.kubectl("set", "env", "deployment/web", "RELEASE=two")
	w.kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=release two")
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe two")
	w.comes(`^1 +<none>\n2 +release two$`, "rollout", "history", "deployment/web")
	contains(t, w.kubectl("rollout", "history", "deployment/web", "--revision=1"), "RELEASE:", "one")

	w.kubectl("rollout", "undo", "deployment/web")
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
	history := w.kubectl("rollout", "history", "deployment/web")
	matches(t, history, `^2 `, `^3 `)
	lacks(t, history, "\n1 ")
	equal(t, "replica sets", count(w, "get", "replicasets", "-l", "app=web", "-o", "name"), 2)

	before := w.kubectl("get", "pods", "-o", "name")
	w.kubectl("rollout", "restart", "deployment/web")
	w.rollout("web")
	w.eventually("the pods to be others", func() error {
		now := w.kubectl("get", "pods", "-o", "name")
		for old := range strings.FieldsSeq(before) {
			if strings.Contains(now, old) {
				return &missing{what: "new pods only", in: now}
			}
		}
		return nil
	})
}

// TestRolloutPause changes a paused Deployment twice and sees one rollout when it resumes.
func TestRolloutPause(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.kubectl("rollout", "pause", "deployment/web")
	w.kubectl("set", "env", "deployment/web", "RELEASE=two")
	w.kubectl("set", "env", "deployment/web", "OTHER=yes")
	w.eventually("the controller to have seen the change", func() error {
		d := w.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.generation}={.status.observedGeneration}")
		if generation, observed, _ := strings.Cut(d, "="); generation != observed {
			return &missing{what: "equality", in: d}
		}
		return nil
	})
	equal(t, "replica sets while paused", count(w, "get", "replicasets", "-l", "app=web", "-o", "name"), 1)
	contains(t, w.kubectlFails("rollout", "restart", "deployment/web"), "paused")
	w.kubectl("rollout", "resume", "deployment/web")
	w.rollout("web")
	equal(t, "replica sets after", count(w, "get", "replicasets", "-l", "app=web", "-o", "name"), 2)
	w.becomes(w.appURL("web"), 200, "probe two")
}

// TestRolloutFails rolls to an image that is not there: the old pods go on serving, the deadline is told, undo mends.
func TestRolloutFails(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	// The deadline is short for this one alone: pods that do start may take their time.
	deadline := func(seconds int, template string) {
		w.kubectl("patch", "deployment", "web", "-p", fmt.Sprintf(`{"spec":{"progressDeadlineSeconds":%d%s}}`, seconds, template))
	}
	deadline(5, `,"template":{"spec":{"containers":[{"name":"web","image":"registry.petrel.internal/e2e/absent:v9"}]}}`)
	contains(t, w.kubectlFails("rollout", "status", "deployment/web", "--timeout=150s"), "exceeded its progress deadline")
	w.becomes(w.appURL("web"), 200, "probe one")
	w.comes(`^web-\S+ +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pods")
	matches(t, w.kubectl("describe", "deployment", "web"), `^  Progressing +False +ProgressDeadlineExceeded$`)
	deadline(600, "")
	w.kubectl("rollout", "undo", "deployment/web")
	w.rollout("web")
	matches(t, w.kubectl("get", "deployment", "web"), `^web +2/2 +2 +2 `)
}
