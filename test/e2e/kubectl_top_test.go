package e2e

import (
	"strings"
	"testing"
)

// TestTop has kubectl tell what nodes and pods take, of guests that have served requests.
func TestTop(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
	node := strings.TrimSpace(w.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))

	w.comes(`^web-\S+ +\d+m +\d+(Ki|Mi)\s+^web-\S+ +\d+m +\d+(Ki|Mi)`, "top", "pods") // both pods
	w.comes(`^web-\S+ +web +\d+m `, "top", "pods", "--containers", "-l", "app=web")
	w.comes(`^`+node+` +\d+m +\d+% +\d+Mi +\d+%`, "top", "nodes")
	pod := strings.TrimSpace(w.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	matches(t, w.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/"+w.ns+"/pods/"+pod), `"kind":"PodMetrics".*"window":"[0-9.]+m?s"`)
	contains(t, w.kubectlFails("top", "pod", "none"), "not found")

	proxy := "/api/v1/nodes/" + node + "/proxy"
	contains(t, w.kubectl("get", "--raw", proxy+"/stats/summary"), `"name":"`+pod+`","namespace":"`+w.ns+`"`, `"usageNanoCores"`, `"imageFs"`)
	contains(t, w.kubectl("get", "--raw", proxy+"/metrics/resource"), "node_cpu_usage_seconds_total", `pod_memory_working_set_bytes{namespace="`+w.ns+`",pod="`+pod+`"}`)
	contains(t, w.kubectl("get", "--raw", proxy+"/metrics/cadvisor"), "machine_memory_bytes", `namespace="`+w.ns+`",pod="`+pod+`"`)
}
