package worker

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
)

// TestOperationsHaveKubeletsNames holds against kubelet's own list of what it calls the CRI's methods.
func TestOperationsHaveKubeletsNames(t *testing.T) {
	kubelets := []string{
		"attach", "container_stats", "container_status", "create_container", "exec", "exec_sync", "image_fs_info", "image_status", "list_container_stats",
		"list_containers", "list_images", "list_podsandbox", "list_podsandbox_stats", "podsandbox_stats", "podsandbox_status", "port_forward", "pull_image",
		"remove_container", "remove_image", "remove_podsandbox", "reopen_container_log", "run_podsandbox", "runtime_config", "start_container", "status",
		"stop_container", "stop_podsandbox", "update_container", "update_runtime_config", "version",
	}
	var ours []string
	for _, method := range criMethods {
		ours = append(ours, operationOf(method))
	}
	slices.Sort(ours)
	if !slices.Equal(ours, kubelets) {
		t.Errorf("operations are %q, kubelet's %q", ours, kubelets)
	}
	k := newKubeletMetrics(prometheus.NewRegistry())
	k.observeCall("PullImage", time.Second, nil)
	k.observeCall("PullImage", time.Second, errors.New("no"))
	k.observeCall("NobodyKnowsThis", time.Second, nil)
	if n, failed := testutil.ToFloat64(k.operations.WithLabelValues("pull_image")), testutil.ToFloat64(k.operationErrors.WithLabelValues("pull_image")); n != 2 || failed != 1 {
		t.Errorf("%v pulls, %v of them failed", n, failed)
	}
	if n := testutil.CollectAndCount(k.operations); n != 1 {
		t.Errorf("%d operations are told", n)
	}
}

func TestContainerTypes(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first"}}, Containers: []corev1.Container{{Name: "main"}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger"}}},
	}}
	for name, want := range map[string]string{"first": "init_container", "main": "container", "debugger": "ephemeral_container"} {
		if got := containerType(p, name); got != want {
			t.Errorf("%s is a %s, want %s", name, got, want)
		}
	}
}
