package follow

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}

const patience = 60 * time.Second

// world is a follower over a fake API.
type world struct {
	*testing.T
	*Follower
	client *fake.Clientset
	number int
}

func newWorld(t *testing.T) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{T: t, client: feedtest.CopyWatches(fake.NewClientset())}
	w.Follower = New(ctx, w.client)
	t.Cleanup(func() {
		cancel()
		w.Close()
	})
	return w
}

func (w *world) set(name, value string) {
	w.Helper()
	w.number++
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "u", ResourceVersion: strconv.Itoa(w.number)}, Data: map[string]string{"k": value}}
	maps := w.client.CoreV1().ConfigMaps("ns")
	_, err := maps.Update(w.Context(), object, metav1.UpdateOptions{})
	if err != nil {
		_, err = maps.Create(w.Context(), object, metav1.CreateOptions{})
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// value is what the follower knows; empty for nothing.
func (w *world) value(name string) (string, bool) {
	object, known := w.ConfigMap("ns", name)
	if object == nil {
		return "", known
	}
	return object.Data["k"], known
}

func TestFollow(t *testing.T) {
	w := newWorld(t)
	w.set("a", "1")
	w.set("b", "other")
	if _, known := w.value("a"); known {
		t.Error("it is known before anybody follows it")
	}
	var told, second atomic.Int32
	key := Key{ConfigMap, "ns", "a"}
	stop := w.Follow([]Key{key, {Secret, "ns", "s"}}, func() { told.Add(1) })
	w.eventually("the first look", func() bool { v, known := w.value("a"); return known && v == "1" && told.Load() >= 1 })
	w.eventually("the absent secret", func() bool { s, known := w.Secret("ns", "s"); return known && s == nil && told.Load() == 2 })
	stopSecond := w.Follow([]Key{key}, func() { second.Add(1) })
	if len(w.objects) != 2 {
		t.Errorf("%d objects are followed, want 2", len(w.objects))
	}
	w.set("b", "changed")
	w.set("a", "2")
	w.eventually("the change", func() bool { v, _ := w.value("a"); return v == "2" && second.Load() == 1 })
	if err := w.client.CoreV1().ConfigMaps("ns").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the deletion", func() bool { v, known := w.value("a"); return known && v == "" && second.Load() == 2 })
	stop()
	if _, known := w.Secret("ns", "s"); known {
		t.Error("what nobody follows is still known")
	}
	w.set("a", "3")
	w.eventually("the new one", func() bool { v, _ := w.value("a"); return v == "3" && second.Load() == 3 })
	if n := told.Load(); n != 4 {
		t.Errorf("told %d times, want 4: looks at two objects, a change and a deletion", n)
	}
	stopSecond()
	if len(w.objects) != 0 {
		t.Errorf("%d objects are followed by nobody", len(w.objects))
	}
}

func TestNothingBeginsAfterClose(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := New(ctx, fake.NewClientset())
	cancel()
	f.Close()
	stop := f.Follow([]Key{{ConfigMap, "ns", "a"}}, func() { t.Error("told of something") })
	defer stop()
	if _, known := f.ConfigMap("ns", "a"); known {
		t.Error("it is known")
	}
}
