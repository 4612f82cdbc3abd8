package apiserver

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// TestTypedClient goes through the verbs as a Go program does, in both encodings.
func TestTypedClient(t *testing.T) {
	for _, encoding := range []string{contentJSON, contentProtobuf} {
		t.Run(encoding, func(t *testing.T) {
			ns, c := space(t), client(t, encoding)
			pods := c.CoreV1().Pods(ns)
			p, err := pods.Create(t.Context(), newPod("p"), metav1.CreateOptions{})
			if err != nil || p.UID == "" || p.ManagedFields[0].Manager != "tester" {
				t.Fatalf("create: %v, %+v", err, p)
			}
			if p, err = pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil || p.Spec.Containers[0].Image != "i" {
				t.Fatalf("get: %v", err)
			}
			p.Status.Phase = corev1.PodRunning
			if p, err = pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{FieldManager: "kubelet"}); err != nil || p.Status.Phase != corev1.PodRunning {
				t.Fatalf("status: %v", err)
			}
			if p, err = pods.Patch(t.Context(), "p", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{}); err != nil || p.Labels["x"] != "y" {
				t.Fatalf("patch: %v", err)
			}
			if p, err = pods.Apply(t.Context(), coreapply.Pod("p", ns).WithLabels(map[string]string{"z": "1"}), metav1.ApplyOptions{FieldManager: "applier"}); err != nil || p.Labels["z"] != "1" {
				t.Fatalf("apply: %v", err)
			}
			list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "x=y", FieldSelector: "status.phase=Running"})
			if err != nil || len(list.Items) != 1 || list.Items[0].Name != "p" || list.ResourceVersion == "" {
				t.Fatalf("list: %v, %+v", err, list)
			}
			b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
			if err := pods.Bind(t.Context(), b, metav1.CreateOptions{}); err != nil {
				t.Fatalf("bind: %v", err)
			}
			if err := pods.Bind(t.Context(), b, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
				t.Fatalf("bind twice: %v", err)
			}
			if err := pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}); err != nil {
				t.Fatalf("evict: %v", err)
			}
			if p, err = pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil || p.DeletionTimestamp == nil {
				t.Fatalf("evicted: %v", err)
			}
			if err := pods.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &p.UID}}); err != nil {
				t.Fatalf("delete: %v", err)
			}
			if _, err = pods.Get(t.Context(), "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Fatalf("after delete: %v", err)
			}
			scales(t, ns, encoding)
		})
	}
}

func scales(t *testing.T, ns, encoding string) {
	deployments := client(t, encoding).AppsV1().Deployments(ns)
	labels := map[string]string{"app": "d"}
	_, err := deployments.Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("x").Spec},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := deployments.GetScale(t.Context(), "d", metav1.GetOptions{})
	if err != nil || s.Spec.Replicas != 1 {
		t.Fatalf("get scale: %v", err)
	}
	s.Spec.Replicas = 4
	if s, err = deployments.UpdateScale(t.Context(), "d", s, metav1.UpdateOptions{}); err != nil || s.Spec.Replicas != 4 {
		t.Fatalf("update scale: %v, %+v", err, s)
	}
	var _ *autoscalingv1.Scale = s
	err = deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "none=here"})
	if err != nil {
		t.Fatalf("delete collection of nothing: %v", err)
	}
	if err = deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatalf("delete collection: %v", err)
	}
	left, err := deployments.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Fatalf("left %d, %v", len(left.Items), err)
	}
}

// TestInformer runs an unmodified shared informer, which streams its first list (WatchList).
func TestInformer(t *testing.T) {
	ns, c := space(t), client(t, contentProtobuf)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.CoreV1().ConfigMaps(ns).Create(ctx, newConfigMap("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(ns))
	inf := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 10)
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { seen <- "add " + o.(*corev1.ConfigMap).Name }, DeleteFunc: func(o any) { seen <- "delete " + o.(*corev1.ConfigMap).Name }})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
		t.Fatal("never synced")
	}
	if _, err := c.CoreV1().ConfigMaps(ns).Create(ctx, newConfigMap("after"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().ConfigMaps(ns).Delete(ctx, "before", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"add before", "add after", "delete before"} {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("no %q", want)
		}
	}
}

func TestLeaderElection(t *testing.T) {
	ns, c := space(t), client(t, contentProtobuf)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leads := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: ns, Name: "lock"}, Client: c.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: "me"}},
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(leads) }, OnStoppedLeading: func() {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); elector.Run(ctx) }()
	select {
	case <-leads:
	case <-time.After(60 * time.Second):
		t.Fatal("never led")
	}
	cancel()
	<-done
	lease, err := c.CoordinationV1().Leases(ns).Get(t.Context(), "lock", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "" {
		t.Fatalf("not released: %v, %+v", err, lease)
	}
}

func TestPages(t *testing.T) {
	ns, c := space(t), client(t, contentProtobuf)
	for i := range 7 {
		if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap(string(rune('a'+i))), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names, token, version = "", "", ""
	for {
		page, err := c.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{Limit: 3, Continue: token})
		if err != nil {
			t.Fatal(err)
		}
		if version != "" && page.ResourceVersion != version {
			t.Errorf("a page of revision %s among those of %s", page.ResourceVersion, version)
		}
		for _, cm := range page.Items {
			names += cm.Name
		}
		if names == "abc" {
			// Later writes are not in the pages that follow.
			if err := c.CoreV1().ConfigMaps(ns).Delete(t.Context(), "e", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if page.RemainingItemCount == nil || *page.RemainingItemCount != 4 {
				t.Errorf("remaining %v", page.RemainingItemCount)
			}
		}
		if version, token = page.ResourceVersion, page.Continue; token == "" {
			break
		}
	}
	if names != "abcdefg" {
		t.Errorf("pages held %s", names)
	}
	_, err := c.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{Limit: 3, Continue: "nonsense"})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("bad token: %v", err)
	}
}

func TestWatchFromARevision(t *testing.T) {
	ns, c := space(t), client(t, contentProtobuf)
	cm, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.CoreV1().ConfigMaps(ns).Watch(t.Context(), metav1.ListOptions{ResourceVersion: cm.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm.Data["k"] = "w"
	if cm, err = c.CoreV1().ConfigMaps(ns).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().ConfigMaps(ns).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	first, second := <-w.ResultChan(), <-w.ResultChan()
	if first.Type != watch.Modified || first.Object.(*corev1.ConfigMap).ResourceVersion != cm.ResourceVersion {
		t.Errorf("first %+v", first)
	}
	last, ok := second.Object.(*corev1.ConfigMap)
	if second.Type != watch.Deleted || !ok || last.Data["k"] != "w" || last.ResourceVersion <= cm.ResourceVersion {
		t.Errorf("second %+v", second)
	}
	if _, err := c.CoreV1().ConfigMaps(ns).Watch(t.Context(), metav1.ListOptions{ResourceVersion: "x"}); !apierrors.IsBadRequest(err) {
		t.Errorf("bad revision: %v", err)
	}
}

func TestWarningsReachTheClient(t *testing.T) {
	ns := space(t)
	resp, _ := request(t, "POST", "/api/v1/namespaces/"+ns+"/pods", `{"metadata":{"name":"a.b"},"spec":{"containers":[{"name":"c","image":"i","bogus":1}]}}`, "Content-Type: application/json")
	if w := resp.Header.Values("Warning"); resp.StatusCode != 201 || len(w) != 2 {
		t.Errorf("%s, warnings %q", resp.Status, w)
	}
}
