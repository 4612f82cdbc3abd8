package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDeletePropagation deletes an owner in each of the three ways.
func TestDeletePropagation(t *testing.T) {
	w := newWorld(t)
	small := strings.ReplaceAll(web, "replicas: 2", "replicas: 1")

	w.apply(small)
	w.rollout("web")
	w.kubectl("delete", "deployment", "web", "--cascade=background")
	w.kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=150s")
	equal(t, "replica sets after background", count(w, "get", "replicasets", "-o", "name"), 0)

	w.apply(small)
	w.rollout("web")
	w.kubectl("delete", "deployment", "web", "--cascade=foreground") // waits until the owner is gone, which goes last
	equal(t, "dependents after foreground", count(w, "get", "replicasets,pods", "-l", "app=web", "-o", "name"), 0)

	w.apply(small)
	w.rollout("web")
	w.kubectl("delete", "deployment", "web", "--cascade=orphan")
	orphan := strings.TrimSpace(w.kubectl("get", "replicasets", "-l", "app=web", "-o", "name"))
	w.eventually("the orphan to have no owner", func() error {
		if owners := w.kubectl("get", orphan, "-o", "jsonpath={.metadata.ownerReferences}"); owners != "" {
			return fmt.Errorf("owners are %s", owners)
		}
		return nil
	})
	w.becomes(w.appURL("web"), 200, "probe one")
	// An orphan whose labels match is adopted by the next Deployment of that selector.
	w.apply(small)
	w.rollout("web")
	equal(t, "replica sets after adoption", strings.TrimSpace(w.kubectl("get", "replicasets", "-l", "app=web", "-o", "name")), orphan)
}

// TestGracefulDeletion deletes a pod that is answering: the request ends well, and only then does the pod.
func TestGracefulDeletion(t *testing.T) {
	w := newWorld(t)
	w.apply(server)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	url := podURL(w, "server")
	w.becomes(url, 200, "probe")

	answers := make(chan error, 1)
	go func() {
		a, err := fetch(t.Context(), url+"sleep?ms=5000")
		if err == nil && a.Status != 200 {
			err = fmt.Errorf("%d %s", a.Status, a.Body)
		}
		answers <- err
	}()
	time.Sleep(1500 * time.Millisecond) // let the request reach the guest
	began := time.Now()
	w.kubectl("delete", "pod", "server", "--grace-period=20", "--timeout=150s")
	took := time.Since(began)
	if err := <-answers; err != nil {
		t.Errorf("the request that was under way: %v", err)
	}
	if took < 2*time.Second || took > 18*time.Second {
		t.Errorf("the deletion took %s; it should wait for the request and no longer", took)
	}

	// A command that does not end by itself is ended when its grace is over, at once when there is none.
	w.kubectlIn(w.fill(sleeper), "create", "-f", "-")
	w.kubectl("wait", "pod/sleeper", "--for=jsonpath={.status.phase}=Running", "--timeout=150s")
	began = time.Now()
	w.kubectl("delete", "pod", "sleeper", "--grace-period=0", "--force", "--timeout=150s")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the deletion by force took %s", took)
	}
}

const sleeper = `
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: $TASK, args: [sleep, "600000"]}
`

// TestNamespaceDeletion deletes a namespace with everything in it.
func TestNamespaceDeletion(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.kubectl("create", "configmap", "settings", "--from-literal=a=1")
	w.kubectl("patch", "configmap", "settings", "-p", `{"metadata":{"finalizers":["petrel.run/held-by-the-test"]}}`)

	w.kubectl("delete", "namespace", w.ns, "--wait=false")
	w.eventually("pods and the rest to be gone", func() error {
		if left := w.kubectl("get", "pods,deployments,replicasets,services,secrets", "-o", "name"); left != "" {
			return &missing{what: "emptiness", in: left}
		}
		return nil
	})
	matches(t, w.kubectl("get", "namespace", w.ns), ` Terminating `) // the finalizer holds it
	contains(t, w.kubectlFails("create", "configmap", "late"), "being terminated")
	w.kubectl("patch", "configmap", "settings", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.kubectl("wait", "namespace", w.ns, "--for=delete", "--timeout=150s")
	contains(t, w.kubectlFails("get", "namespace", w.ns), "not found")
}

// TestGarbageCollection deletes an owner that is no controller of anything: what names it as its owner goes too, and
// what names an owner that never was goes as well.
func TestGarbageCollection(t *testing.T) {
	w := newWorld(t)
	w.apply(settings)
	uid := w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.metadata.uid}")
	owned := func(name, owner, uid string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: %s, uid: %s}]\n", name, owner, uid)
	}
	w.kubectlIn(owned("child", "settings", uid), "create", "-f", "-")
	w.kubectlIn(owned("stray", "nobody", "00000000-0000-4000-8000-000000000000"), "create", "-f", "-")
	w.kubectl("wait", "secret/stray", "--for=delete", "--timeout=150s")
	w.kubectl("get", "secret", "child") // its owner lives
	w.kubectl("delete", "configmap", "settings")
	w.kubectl("wait", "secret/child", "--for=delete", "--timeout=150s")
}
