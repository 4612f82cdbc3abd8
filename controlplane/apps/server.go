package apps

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Server answers /v1/apps.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	uploads chan struct{}
	signals signals

	apps, revisions, pods cache.Indexer
}

var podsResource = corev1.SchemeGroupVersion.WithResource("pods")

// indexApp finds Revisions and pods by "namespace/app". The App controller uses the same index of the pods.
const indexApp = "petrel.run/app"

// New makes a Server. It reads and writes nothing; it has to come before the informers start, for it adds its index
// and its handlers to them.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	s := &Server{cfg: cfg, uploads: make(chan struct{}, maxUploads)}
	for _, r := range []struct {
		store   *cache.Indexer
		indexed bool
		api.ResourceInfo
	}{
		{&s.apps, false, api.AppResource},
		{&s.revisions, true, api.RevisionResource},
		{&s.pods, true, api.ResourceInfo{GVR: podsResource}},
	} {
		informer := cfg.Informers.Informer(r.GVR)
		if informer == nil {
			return nil, fmt.Errorf("make apps server: %s are not served", r.GVR.Resource)
		}
		if r.indexed {
			if err := addIndex(informer); err != nil {
				return nil, fmt.Errorf("index %s: %w", r.GVR.Resource, err)
			}
		}
		if _, err := informer.AddEventHandler(s.signals.handler()); err != nil {
			return nil, fmt.Errorf("watch %s: %w", r.GVR.Resource, err)
		}
		*r.store = informer.GetIndexer()
	}
	s.route()
	return s, nil
}

func addIndex(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[indexApp]; ok {
		return nil
	}
	return informer.AddIndexers(cache.Indexers{indexApp: byApp})
}

func byApp(obj any) ([]string, error) {
	o, ok := obj.(api.Object)
	if !ok || o.GetLabels()[api.LabelApp] == "" {
		return nil, nil
	}
	return []string{o.GetNamespace() + "/" + o.GetLabels()[api.LabelApp]}, nil
}

// route lays out the paths. Each path has a last resort that names the methods it knows.
func (s *Server) route() {
	s.mux = http.NewServeMux()
	for path, methods := range map[string]map[string]http.HandlerFunc{
		"/v1/apps":                {http.MethodGet: s.listApps},
		"/v1/apps/{app}":          {http.MethodGet: s.getApp, http.MethodPut: s.putApp, http.MethodDelete: s.deleteApp},
		"/v1/apps/{app}/versions": {http.MethodGet: s.listVersions},
		"/v1/apps/{app}/logs":     {http.MethodGet: s.getLogs},
	} {
		for method, handler := range methods {
			s.mux.HandleFunc(method+" "+path, handler)
		}
		s.mux.HandleFunc(path, methodNotAllowed(methods))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(http.StatusNotFound, "not_found", "There is nothing here", "", "no resource has the path "+r.URL.Path,
			"the API's resources are /v1/apps, /v1/apps/{app}, /v1/apps/{app}/versions and /v1/apps/{app}/logs").write(w, r)
	})
}

func methodNotAllowed(methods map[string]http.HandlerFunc) http.HandlerFunc {
	var known []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		_, ok := methods[m]
		if _, get := methods[http.MethodGet]; ok || m == http.MethodHead && get {
			known = append(known, m)
		}
	}
	allow := strings.Join(known, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		p := problem(http.StatusMethodNotAllowed, "method_not_allowed", "The method is not known here", "",
			r.Method+" is not known for "+r.URL.Path, "use "+allow)
		p.allow = allow
		p.write(w, r)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// acquire waits for a deploy's turn.
func (s *Server) acquire(ctx context.Context) (release func(), p *Problem) {
	wait := time.NewTimer(uploadPatience)
	defer wait.Stop()
	select {
	case s.uploads <- struct{}{}:
		return func() { <-s.uploads }, nil
	case <-ctx.Done():
		return nil, apiProblem(ctx.Err())
	case <-wait.C:
		p := problem(http.StatusTooManyRequests, "too_many_uploads", "Too many deploys at once", "",
			fmt.Sprintf("%d uploads are being read", maxUploads), "try again in a second")
		p.retryAfter = "1"
		return nil, p
	}
}

// cached finds one app in the cache.
func (s *Server) cached(key types.NamespacedName) (*api.App, bool) {
	found, ok, err := s.apps.GetByKey(key.String())
	if err != nil || !ok {
		return nil, false
	}
	app, ok := found.(*api.App)
	return app, ok
}

// ofApp lists what the index holds for an app.
func ofApp[T any](indexer cache.Indexer, key types.NamespacedName) []T {
	found, err := indexer.ByIndex(indexApp, key.String())
	if err != nil {
		panic(fmt.Sprintf("read index %s: %v", indexApp, err)) // New added it
	}
	out := make([]T, 0, len(found))
	for _, f := range found {
		if typed, ok := f.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

// errGone ends what waits for an app that was removed.
var errGone = errors.New("the app was removed")
