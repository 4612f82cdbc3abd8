package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestLargestImages(t *testing.T) {
	var all []corev1.ContainerImage
	for i := range 60 {
		all = append(all, corev1.ContainerImage{Names: []string{fmt.Sprintf("img-%02d", i), "2", "3", "4", "5", "6"}, SizeBytes: int64(i / 2)})
	}
	all = append(all, corev1.ContainerImage{SizeBytes: 1000}) // nobody can name it
	got := largest(all)
	if len(got) != maxImages || got[0].Names[0] != "img-58" || got[1].Names[0] != "img-59" || got[49].SizeBytes != 5 || len(got[0].Names) != maxNames {
		t.Errorf("%d images, %v to %v", len(got), got[0], got[len(got)-1])
	}
	if got := largest([]corev1.ContainerImage{}); got == nil || len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
}

// TestHoldings come and go with what is on the node; of images of which nothing is known the last word stands.
func TestHoldings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var mu sync.Mutex
		images := []corev1.ContainerImage{{Names: []string{"a"}, SizeBytes: 1}}
		volumes := []corev1.UniqueVolumeName{"kubernetes.io/csi/d^h"}
		cfg := testConfig(t, client)
		cfg.Images = func(context.Context) []corev1.ContainerImage { mu.Lock(); defer mu.Unlock(); return images }
		cfg.VolumesInUse = func() []corev1.UniqueVolumeName { mu.Lock(); defer mu.Unlock(); return volumes }
		change := func(i []corev1.ContainerImage, v []corev1.UniqueVolumeName) {
			mu.Lock()
			images, volumes = i, v
			mu.Unlock()
			time.Sleep(checkInterval)
			synctest.Wait()
		}
		run(t, cfg, func() {
			if s := getNode(t, client).Status; len(s.Images) != 1 || len(s.VolumesInUse) != 1 {
				t.Errorf("at first: %v, %v", s.Images, s.VolumesInUse)
			}
			change(nil, nil)
			if s := getNode(t, client).Status; len(s.Images) != 1 || len(s.VolumesInUse) != 0 {
				t.Errorf("without knowledge: %v, %v", s.Images, s.VolumesInUse)
			}
			change([]corev1.ContainerImage{}, nil)
			if s := getNode(t, client).Status; len(s.Images) != 0 {
				t.Errorf("without images: %v", s.Images)
			}
			before := patches(client)
			time.Sleep(time.Minute)
			if sent := patches(client) - before; sent != 0 {
				t.Errorf("%d patches though nothing changed", sent)
			}
		})
	})
}

func TestEventsOfConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var mu sync.Mutex
		var told []string
		short := false
		cfg := testConfig(t, client)
		cfg.Event = func(reason string) { mu.Lock(); defer mu.Unlock(); told = append(told, reason) }
		cfg.Pressure = func(k corev1.NodeConditionType) bool {
			mu.Lock()
			defer mu.Unlock()
			return short && k == corev1.NodeDiskPressure
		}
		wants := func(want ...string) {
			t.Helper()
			time.Sleep(checkInterval)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if slices.Sort(told); !slices.Equal(told, want) {
				t.Errorf("told %v, want %v", told, want)
			}
			told = nil
		}
		run(t, cfg, func() {
			wants("NodeHasNoDiskPressure", "NodeHasSufficientMemory", "NodeHasSufficientPID", "NodeReady")
			mu.Lock()
			short = true
			mu.Unlock()
			wants("NodeHasDiskPressure")
			mu.Lock()
			short = false
			mu.Unlock()
			wants("NodeHasNoDiskPressure")
			time.Sleep(reportInterval)
			wants()
		})
		run(t, cfg, func() { wants() }) // a worker that begins anew finds nothing new
		node := getNode(t, client).DeepCopy()
		for i := range node.Status.Conditions {
			node.Status.Conditions[i].Status = corev1.ConditionUnknown
		}
		if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		run(t, cfg, func() { wants("NodeHasNoDiskPressure", "NodeHasSufficientMemory", "NodeHasSufficientPID", "NodeReady") })
	})
}
