package join

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/petrelrun/petrel/controlplane/api"
)

var (
	requestsResource = certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	secretsResource  = corev1.SchemeGroupVersion.WithResource("secrets")
	nodesResource    = corev1.SchemeGroupVersion.WithResource("nodes")
	podsResource     = corev1.SchemeGroupVersion.WithResource("pods")
	volumesResource  = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
)

// Controller decides, signs and clears away. One step is taken at a time, so that a name is given once.
type Controller struct {
	cfg                                     Config
	requests, secrets, nodes, pods, volumes cache.SharedIndexInformer
	queue                                   workqueue.TypedRateLimitingInterface[key]
}

// key is what a step is for: an object of one of three kinds.
type key struct {
	kind            kind
	namespace, name string
}

type kind uint8

const (
	requestKey kind = iota
	tokenKey
	goneNodeKey
)

// New makes a controller. It does no I/O, and has to come before the informers start, for it adds an index to them.
func New(cfg Config) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	c := &Controller{cfg: cfg}
	for gvr, to := range map[schema.GroupVersionResource]*cache.SharedIndexInformer{
		requestsResource: &c.requests, secretsResource: &c.secrets, nodesResource: &c.nodes, podsResource: &c.pods, volumesResource: &c.volumes,
	} {
		if *to = cfg.Informers.Informer(gvr); *to == nil {
			return nil, fmt.Errorf("make join controller: %s are not served", gvr.Resource)
		}
	}
	if err := c.pods.AddIndexers(cache.Indexers{indexUses: usesOf}); err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	if err := c.volumes.AddIndexers(cache.Indexers{indexSecrets: secretsOf}); err != nil {
		return nil, fmt.Errorf("index volumes: %w", err)
	}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[key]{Name: "join"},
	)
	defer c.queue.ShutDown()
	remove, err := c.listen()
	defer remove()
	if err != nil {
		return err
	}
	if !cache.WaitForCacheSync(ctx.Done(), c.requests.HasSynced, c.secrets.HasSynced, c.nodes.HasSynced) {
		return nil
	}
	var worker sync.WaitGroup
	worker.Go(func() {
		for c.step(ctx) {
		}
	})
	<-ctx.Done()
	c.queue.ShutDown()
	worker.Wait()
	return nil
}

// listen hangs the queue on the informers.
func (c *Controller) listen() (remove func(), err error) {
	var undo []func()
	remove = func() {
		for _, u := range undo {
			u()
		}
	}
	add := func(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) error {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		undo = append(undo, func() {
			if err := informer.RemoveEventHandler(registration); err != nil {
				c.cfg.Logger.Warn("an event handler stays behind", "error", err)
			}
		})
		return nil
	}
	seen := func(k kind, matches func(api.Object) bool) cache.ResourceEventHandler {
		enqueue := func(obj any) {
			if o, ok := obj.(api.Object); ok && matches(o) {
				c.queue.Add(key{k, o.GetNamespace(), o.GetName()})
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) }}
	}
	if err = add(c.requests, seen(requestKey, func(api.Object) bool { return true })); err != nil {
		return remove, err
	}
	if err = add(c.secrets, seen(tokenKey, isToken)); err != nil {
		return remove, err
	}
	return remove, add(c.nodes, cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if o, ok := obj.(api.Object); ok {
			c.queue.Add(key{kind: goneNodeKey, name: o.GetName()})
		}
	}})
}

// step works on one key; it is false when the queue has shut down.
func (c *Controller) step(ctx context.Context) bool {
	k, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(k)
	var again time.Duration
	var err error
	switch k.kind {
	case requestKey:
		again, err = c.request(ctx, k.name)
	case tokenKey:
		again, err = c.token(ctx, k.namespace, k.name)
	case goneNodeKey:
		err = c.goneNode(ctx, k.name)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		level := slog.LevelWarn
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			level = slog.LevelDebug // the cache was behind; the next step sees what happened
		}
		c.cfg.Logger.Log(ctx, level, "step failed, will try again", "controller", "join", "name", k.name, "error", err)
		c.queue.AddRateLimited(k)
	default:
		c.queue.Forget(k)
		if again > 0 {
			c.queue.AddAfter(k, again)
		}
	}
	return true
}

// remove deletes the object that was looked at, and no later one of its name.
func (c *Controller) remove(ctx context.Context, obj api.Object) error {
	uid := obj.GetUID()
	err := c.cfg.Client.Delete(ctx, obj, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
