package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// appWorkers is how many Apps are worked on at once. A step writes a few objects at most.
const appWorkers = 4

// indexApp finds pods by "namespace/app", whoever controls them: a ReplicaSet of the App's Deployment does.
const indexApp = "petrel.run/app"

// AppConfig is what the App controller needs.
type AppConfig struct {
	Config
	// URL tells where an app answers.
	URL func(namespace, app string) string
	// Resolve reads the module that an App names by an image nobody described yet (an App that was applied, not
	// deployed): it answers the image by digest and what the module is. Nil: such an App runs as it is written.
	Resolve func(ctx context.Context, namespace, image string) (string, *api.ModuleInfo, error)
}

// Validate tells what is missing.
func (c *AppConfig) Validate() error {
	if c.URL == nil {
		return errors.New("check app controller config: no URL")
	}
	return c.Config.Validate()
}

// AppController keeps for each App a Deployment of its active version, a Service that the gateway finds it by, its
// Revisions, and its status.
type AppController struct {
	*loop[types.NamespacedName]
	config                                       AppConfig
	apps, revisions, deployments, services, pods cache.Indexer
}

// NewApps prepares the App controller and its indexes. Like New it reads and writes nothing, and must come before the
// informers start.
func NewApps(config AppConfig) (*AppController, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	base, err := config.Config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	e := &env{Config: base}
	c := &AppController{config: config}
	c.loop = &loop[types.NamespacedName]{env: e, title: "app", workers: appWorkers, reconcile: c.step}
	for _, s := range []struct {
		source[types.NamespacedName]
		indexers cache.Indexers
		store    *cache.Indexer
	}{
		{source[types.NamespacedName]{api.AppResource.GVR, c.onApp}, nil, &c.apps},
		{source[types.NamespacedName]{api.RevisionResource.GVR, c.onOwned}, cache.Indexers{indexController: byController}, &c.revisions},
		{source[types.NamespacedName]{deploymentsResource, c.onOwned}, nil, &c.deployments},
		{source[types.NamespacedName]{servicesResource, c.onOwned}, nil, &c.services},
		{source[types.NamespacedName]{podsResource, c.onPod}, cache.Indexers{indexApp: byApp}, &c.pods},
	} {
		if err := e.addIndexers(s.gvr, s.indexers); err != nil {
			return nil, err
		}
		*s.store = e.indexer(s.gvr)
		c.sources = append(c.sources, s.source)
	}
	return c, nil
}

// Run works until ctx ends. It waits for the informers to fill.
func (c *AppController) Run(ctx context.Context) error {
	if err := c.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run %s controller: %w", c.name(), err)
	}
	return nil
}

func (c *AppController) onApp(ch change) { c.add(keyOf(ch.object())) }

// onOwned looks at the App whose object changed.
func (c *AppController) onOwned(ch change) {
	ref := metav1.GetControllerOfNoCopy(ch.object())
	if ref != nil && ref.Kind == api.AppResource.GVK.Kind && ref.APIVersion == api.SchemeGroupVersion.String() {
		c.addBatched(types.NamespacedName{Namespace: ch.object().GetNamespace(), Name: ref.Name})
	}
}

// onPod looks at the App when one of its pods has new figures. How many pods serve is the Deployment's to tell.
func (c *AppController) onPod(ch change) {
	app := ch.object().GetLabels()[api.LabelApp]
	if app == "" || ch.new == nil {
		return
	}
	if ch.old != nil && figuresOf(ch.old) == figuresOf(ch.new) {
		return
	}
	c.addBatched(types.NamespacedName{Namespace: ch.new.GetNamespace(), Name: app})
}

// byApp is the index function of indexApp.
func byApp(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Labels[api.LabelApp] == "" {
		return nil, nil
	}
	return []string{pod.Namespace + "/" + pod.Labels[api.LabelApp]}, nil
}

// step brings one App a step closer to its spec and tells its status.
func (c *AppController) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	app, ok := lookup[*api.App](c.apps, key)
	if !ok || app.DeletionTimestamp != nil {
		return 0, nil // what it owns goes with it: the garbage collector sees to that
	}
	app = app.DeepCopy()
	api.SetAppDefaults(app)
	seen := appSeen{revisions: c.revisionsOf(app)}
	var err error
	seen.active, err = c.activeRevision(ctx, app, seen.revisions)
	if errors.Is(err, errImage) {
		seen.refused, seen.retry = err, err
	} else if errors.Is(err, errAppGone) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if seen.active != nil {
		c.ensureObjects(ctx, app, &seen)
		if errors.Is(seen.retry, errAppGone) {
			return 0, nil
		}
		if err := c.prune(ctx, seen); err != nil {
			return 0, err
		}
	}
	if err := c.writeStatus(ctx, app, seen); err != nil {
		return 0, err
	}
	return 0, seen.retry
}
