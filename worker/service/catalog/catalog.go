package catalog

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// Reader is told what there is. Objects are shared: they must not be changed.
type Reader interface {
	// Set is told of a Service and its slices, in no order, at first and when one of them changed.
	Set(svc *corev1.Service, slices []*discoveryv1.EndpointSlice)
	// Gone is told of a Service that is there no longer.
	Gone(key types.NamespacedName)
	// Settled is told after everything that there is, as often as everything is told; known reports whether a Service is.
	Settled(known func(types.NamespacedName) bool)
}

// Catalog holds Services and EndpointSlices.
type Catalog struct {
	client kubernetes.Interface

	mu       sync.Mutex
	readers  []Reader
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by Service, by name
	owners   map[types.NamespacedName]types.NamespacedName                  // slice to Service
	synced   [2]bool
}

// Which kind has been listed whole.
const (
	syncedServices = iota
	syncedSlices
)

// New makes an empty catalog; Run fills it.
func New(client kubernetes.Interface) *Catalog {
	return &Catalog{
		client:   client,
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		owners:   map[types.NamespacedName]types.NamespacedName{},
	}
}

// Run follows the API until ctx ends.
func (c *Catalog) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() {
		feed.New(c.client, c.client.CoreV1().Services(""), &corev1.Service{}, "", c.Services()).Run(ctx)
	})
	parts.Go(func() {
		feed.New(c.client, c.client.DiscoveryV1().EndpointSlices(""), &discoveryv1.EndpointSlice{}, "", c.Slices()).Run(ctx)
	})
	parts.Wait()
}

// Services and Slices take in what the API has; Run feeds them.
func (c *Catalog) Services() feed.Handler[*corev1.Service] {
	return feed.Handler[*corev1.Service]{Set: c.setService, Gone: c.dropService, Synced: func() { c.markSynced(syncedServices) }}
}

// Slices is Services for EndpointSlices.
func (c *Catalog) Slices() feed.Handler[*discoveryv1.EndpointSlice] {
	return feed.Handler[*discoveryv1.EndpointSlice]{Set: c.setSlice, Gone: c.dropSlice, Synced: func() { c.markSynced(syncedSlices) }}
}

// Join tells the reader everything, if everything is known, and from now on what changes.
func (c *Catalog) Join(r Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers = append(c.readers, r)
	c.tellAll(r)
}

// Retell tells a reader everything again.
func (c *Catalog) Retell(r Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellAll(r)
}

// tellAll is called with mu held, as everything below is that takes no lock.
func (c *Catalog) tellAll(r Reader) {
	if !c.complete() {
		return
	}
	for key, svc := range c.services {
		r.Set(svc, c.slicesOf(key))
	}
	r.Settled(func(key types.NamespacedName) bool { return c.services[key] != nil })
}

func (c *Catalog) slicesOf(key types.NamespacedName) []*discoveryv1.EndpointSlice {
	return slices.Collect(maps.Values(c.slices[key]))
}

func (c *Catalog) complete() bool { return c.synced[syncedServices] && c.synced[syncedSlices] }

// tell tells the readers of a Service whose slices changed, or that changed itself.
func (c *Catalog) tell(key types.NamespacedName) {
	svc := c.services[key]
	if svc == nil || !c.complete() {
		return
	}
	for _, r := range c.readers {
		r.Set(svc, c.slicesOf(key)) // a list of its own each: a reader may sort it
	}
}

func (c *Catalog) markSynced(which int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.complete()
	c.synced[which] = true
	if before || !c.complete() {
		return
	}
	for _, r := range c.readers {
		c.tellAll(r)
	}
}

func (c *Catalog) setService(svc *corev1.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	c.services[key] = svc
	c.tell(key)
}

func (c *Catalog) dropService(k feed.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if svc := c.services[k.NamespacedName]; svc == nil || svc.UID != k.UID {
		return
	}
	delete(c.services, k.NamespacedName)
	if !c.complete() {
		return
	}
	for _, r := range c.readers {
		r.Gone(k.NamespacedName)
	}
}

func (c *Catalog) setSlice(slice *discoveryv1.EndpointSlice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	owner := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	if was, ok := c.owners[name]; ok && was != owner {
		c.takeSlice(name)
	}
	if owner.Name == "" {
		return
	}
	if c.slices[owner] == nil {
		c.slices[owner] = map[string]*discoveryv1.EndpointSlice{}
	}
	c.slices[owner][slice.Name] = slice
	c.owners[name] = owner
	c.tell(owner)
}

func (c *Catalog) dropSlice(k feed.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeSlice(k.NamespacedName)
}

func (c *Catalog) takeSlice(name types.NamespacedName) {
	owner, ok := c.owners[name]
	if !ok {
		return
	}
	delete(c.owners, name)
	delete(c.slices[owner], name.Name)
	if len(c.slices[owner]) == 0 {
		delete(c.slices, owner)
	}
	c.tell(owner)
}
