package follow

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// Kind is what kind of object is followed.
type Kind int

// The kinds of objects whose content pods mount.
const (
	ConfigMap Kind = iota
	Secret
)

// Key names an object.
type Key struct {
	Kind            Kind
	Namespace, Name string
}

// Follower follows the objects that somebody asked it to.
type Follower struct {
	client kubernetes.Interface
	ctx    context.Context // ends all that is followed
	feeds  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	objects map[Key]*followed
}

// followed is one object that is followed.
type followed struct {
	stop   context.CancelFunc
	users  map[*user]struct{}
	synced bool        // object is what the API has
	object feed.Object // nil: the API has none
}

// user is one who follows objects.
type user struct{ changed func() }

// New makes a follower whose work ends with ctx.
func New(ctx context.Context, client kubernetes.Interface) *Follower {
	return &Follower{client: client, ctx: ctx, objects: map[Key]*followed{}}
}

// Close waits until all that was begun has ended, which is when the follower's context has.
func (f *Follower) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.feeds.Wait()
}

// Follow has changed called, from a goroutine of the follower's, after each change of one of the objects, until stop is
// called. changed must not block.
func (f *Follower) Follow(keys []Key, changed func()) (stop func()) {
	u := &user{changed: changed}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		o := f.objects[key]
		if o == nil {
			if f.closed {
				continue
			}
			o = f.begin(key)
			f.objects[key] = o
		}
		o.users[u] = struct{}{}
	}
	return func() { f.leave(u, keys) }
}

func (f *Follower) leave(u *user, keys []Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		o := f.objects[key]
		if o == nil {
			continue
		}
		delete(o.users, u)
		if len(o.users) == 0 {
			o.stop()
			delete(f.objects, key)
		}
	}
}

// begin watches an object. It is called with mu held.
func (f *Follower) begin(key Key) *followed {
	ctx, stop := context.WithCancel(f.ctx)
	o := &followed{stop: stop, users: map[*user]struct{}{}}
	selector := "metadata.name=" + key.Name
	run := feed.New(f.client, f.client.CoreV1().ConfigMaps(key.Namespace), &corev1.ConfigMap{}, selector, handler[*corev1.ConfigMap](f, o, key)).Run
	if key.Kind == Secret {
		run = feed.New(f.client, f.client.CoreV1().Secrets(key.Namespace), &corev1.Secret{}, selector, handler[*corev1.Secret](f, o, key)).Run
	}
	f.feeds.Go(func() { run(ctx) })
	return o
}

func handler[T feed.Object](f *Follower, o *followed, key Key) feed.Handler[T] {
	mine := func(namespace, name string) bool { return namespace == key.Namespace && name == key.Name }
	return feed.Handler[T]{
		Set: func(object T) {
			if mine(object.GetNamespace(), object.GetName()) {
				f.set(o, object)
			}
		},
		Gone: func(k feed.Key) {
			if mine(k.Namespace, k.Name) {
				f.set(o, nil)
			}
		},
		Synced: func() { f.whole(o) },
	}
}

// set notes the object as the API has it now.
func (f *Follower) set(o *followed, object feed.Object) {
	f.mu.Lock()
	same := sameVersion(o.object, object)
	o.object = object
	var users []*user
	if o.synced && !same {
		users = o.all()
	}
	f.mu.Unlock()
	tell(users)
}

// whole notes that what is known is what the API has.
func (f *Follower) whole(o *followed) {
	f.mu.Lock()
	var users []*user
	if !o.synced {
		users = o.all()
	}
	o.synced = true
	f.mu.Unlock()
	tell(users)
}

func (o *followed) all() []*user {
	out := make([]*user, 0, len(o.users))
	for u := range o.users {
		out = append(out, u)
	}
	return out
}

func tell(users []*user) {
	for _, u := range users {
		u.changed()
	}
}

// sameVersion tells whether two looks at an object found the same: after an interruption everything is seen anew.
func sameVersion(a, b feed.Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion() && a.GetResourceVersion() != ""
}

// ConfigMap is a config map as the API has it, nil when it has none; known is false when the follower cannot tell.
func (f *Follower) ConfigMap(namespace, name string) (object *corev1.ConfigMap, known bool) {
	return get[*corev1.ConfigMap](f, Key{ConfigMap, namespace, name})
}

// Secret is the same for a secret.
func (f *Follower) Secret(namespace, name string) (object *corev1.Secret, known bool) {
	return get[*corev1.Secret](f, Key{Secret, namespace, name})
}

func get[T feed.Object](f *Follower, key Key) (object T, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.objects[key]
	if o == nil || !o.synced {
		return object, false
	}
	object, _ = o.object.(T)
	return object, true
}
