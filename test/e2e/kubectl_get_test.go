package e2e

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestGet holds the columns and output formats of kubectl get to what any Kubernetes server gives.
func TestGet(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.kubectl("create", "configmap", "settings", "--from-literal=a=1", "--from-literal=b=2")
	w.kubectl("create", "secret", "generic", "password", "--from-literal=p=w")

	for _, c := range []struct{ resource, header, row string }{
		{"pods", `NAME +READY +STATUS +RESTARTS +AGE`, `web-\S+ +1/1 +Running +0 +\d+s`},
		{"deployments", `NAME +READY +UP-TO-DATE +AVAILABLE +AGE`, `web +2/2 +2 +2 +\d+s`},
		{"replicasets", `NAME +DESIRED +CURRENT +READY +AGE`, `web-\S+ +2 +2 +2 +\d+s`},
		{"services", `NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE`, `web +ClusterIP +127\.\S+ +<none> +80/TCP +\d+s`},
		{"endpointslices", `NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE`, `web-\S+ +IPv4 +8080 +127\.\S+,127\.\S+ +\d+s`},
		{"configmaps", `NAME +DATA +AGE`, `settings +2 +\d+s`},
		{"secrets", `NAME +TYPE +DATA +AGE`, `password +Opaque +1 +\d+s`},
		{"nodes", `NAME +STATUS +ROLES +AGE +VERSION`, `\S+ +Ready +\S+ +\S+ +v\S+`},
		{"namespaces", `NAME +STATUS +AGE`, w.ns + ` +Active +\d+s`},
		{"leases.coordination.k8s.io -n kube-node-lease", `NAME +HOLDER +AGE`, `\S+ +\S+ +\S+`},
	} {
		out := w.kubectl(append([]string{"get"}, strings.Fields(c.resource)...)...)
		matches(t, out, "^"+c.header+"$", "^"+c.row+"$")
	}

	wide := w.kubectl("get", "pods", "-o", "wide")
	matches(t, wide, `^NAME .*IP +NODE +NOMINATED NODE +READINESS GATES$`, `^web-\S+ .* 127\.\d+\.\d+\.\d+ +\S+ +<none> +<none>$`)
	matches(t, w.kubectl("get", "deployment", "web", "-o", "wide"), `CONTAINERS +IMAGES +SELECTOR$`, `app=web$`)

	equal(t, "-o name", w.kubectl("get", "deployment", "web", "-o", "name"), "deployment.apps/web\n")
	deployment := parse[appsv1.Deployment](w, w.kubectl("get", "deployment", "web", "-o", "json"))
	equal(t, "kind", deployment.Kind, "Deployment")
	equal(t, "ready replicas", deployment.Status.ReadyReplicas, 2)
	equal(t, "strategy, a default", deployment.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	pods := parse[corev1.PodList](w, w.kubectl("get", "pods", "-o", "json"))
	equal(t, "number of pods", len(pods.Items), 2)
	matches(t, w.kubectl("get", "service", "web", "-o", "yaml"), `^apiVersion: v1$`, `^  clusterIP: 127\.`, `^kind: Service$`)
	matches(t, w.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.podIP}"), `^127\.\S+ 127\.\S+$`)
	matches(t, w.kubectl("get", "deploy", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas"), `^N +R$`, `^web +2$`)
	matches(t, w.kubectl("get", "all"), `^pod/web-`, `^service/web `, `^deployment.apps/web `, `^replicaset.apps/web-`)
	contains(t, w.kubectl("get", "pods", "--show-labels"), "app=web,pod-template-hash=")
	contains(t, w.kubectl("get", "pods", "-A"), w.ns)
	contains(t, w.kubectlFails("get", "deployment", "absent"), `deployments.apps "absent" not found`)
	contains(t, w.kubectlFails("get", "unicorns"), `the server doesn't have a resource type "unicorns"`)
}

// TestDescribe reads kubectl's prose about each kind: it draws on events, leases, selectors and endpoints.
func TestDescribe(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")

	pod := strings.TrimSpace(w.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	w.eventually("the pod's events", func() error { return hasEvents(w, "pod/"+pod, "Scheduled", "Started") })
	matches(t, w.kubectl("describe", "pod", pod),
		`^Status: +Running$`, `^IP: +127\.`, `^Controlled By: +ReplicaSet/web-`, `^    State: +Running$`, `^    Ready: +True$`,
		`^      RELEASE: +one$`, `^  Ready +True`, `Normal +Scheduled `, `Normal +Started `)
	matches(t, w.kubectl("describe", "deployment", "web"),
		`^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable$`, `^NewReplicaSet: +web-\S+ \(2/2 replicas created\)$`,
		`^  Available +True +MinimumReplicasAvailable$`, `ScalingReplicaSet`)
	matches(t, w.kubectl("describe", "service", "web"), `^Selector: +app=web$`, `^Endpoints: +127\.\S+:8080,127\.\S+:8080$`)
	node := strings.TrimSpace(w.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	matches(t, w.kubectl("describe", "node", node),
		`^Labels: .*`, `petrel\.run/runtime=wasm`, `^  Ready +True`, `^Capacity:$`, `^Allocatable:$`, `^Non-terminated Pods: `, pod, `^  HolderIdentity: +`+node+`$`)
}

func hasEvents(w *world, object string, reasons ...string) error {
	out := w.kubectl("events", "--for", object)
	for _, reason := range reasons {
		if !strings.Contains(out, reason) {
			return &missing{what: reason, in: out}
		}
	}
	return nil
}

// missing is the error of a text that lacks something.
type missing struct{ what, in string }

func (m *missing) Error() string { return "no " + m.what + " in:\n" + m.in }
