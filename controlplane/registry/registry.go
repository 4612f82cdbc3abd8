package registry

import (
	"net/http"
	"sync"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
)

// Registry serves OCI distribution under /v2/ and stores modules.
type Registry struct {
	cfg    Config
	server *olareg.Server

	// Requests are counted so that Close waits for them: olareg drops its store while it closes.
	mu       sync.RWMutex
	closed   bool
	inflight sync.WaitGroup
	pushes   keyedLocks
	ready    readyRepositories
}

// New makes a Registry. It touches no file; the caller ends it with Close.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	yes, no := true, false
	return &Registry{cfg: cfg, server: olareg.New(config.Config{
		Log: cfg.Logger,
		Storage: config.ConfigStorage{
			StoreType: config.StoreDir,
			RootDir:   cfg.Dir,
			GC: config.ConfigGC{
				Frequency:     gcInterval,
				GracePeriod:   gcGrace,
				RepoUploadMax: maxUploads,
				// A module is named by its digest and never by a tag: an untagged manifest is no garbage.
				Untagged:  &no,
				EmptyRepo: &yes,
			},
		},
		API: config.ConfigAPI{
			PushEnabled: &yes,
			// Manifests may be deleted; blobs go when no manifest names them any more, which only the
			// collection can judge.
			DeleteEnabled: &yes,
			Blob:          config.ConfigAPIBlob{DeleteEnabled: &no},
			Manifest:      config.ConfigAPIManifest{Limit: cfg.MaxManifest},
		},
	})}, nil
}

// Close ends the background collection after the requests in flight are done.
func (r *Registry) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.inflight.Wait()
	return r.server.Close()
}

// enter counts a request in; leave counts it out.
func (r *Registry) enter() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return false
	}
	r.inflight.Add(1)
	return true
}

func (r *Registry) leave() { r.inflight.Done() }

// ServeHTTP answers the OCI distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		ociError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is shutting down")
		return
	}
	defer r.leave()
	if req.URL.Path == "/v2/_catalog" && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
		r.catalog(w, req)
		return
	}
	target := classify(req)
	if !r.admit(w, req, target) {
		return
	}
	guarded, body, ok := r.guard(w, acceptAny(req, target), target)
	if !ok {
		return
	}
	answer := &answer{ResponseWriter: w, over: body.tripped}
	if target.manifestPut() {
		// The client counts on a manifest that was accepted, so it and what it names must be on disk first.
		answer.before = func(status int) error {
			if status != http.StatusCreated {
				return nil
			}
			return r.syncManifest(target.repository, w.Header().Get("Docker-Content-Digest"))
		}
	}
	r.server.ServeHTTP(answer, guarded)
}
