package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

var namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// reserved are the names of an image layout's own files, which a nested repository would collide with.
var reserved = []string{"blobs", "index.json", "oci-layout"}

func validRepository(name string) bool {
	return len(name) <= maxNameLength && namePattern.MatchString(name) &&
		!slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return slices.Contains(reserved, part) })
}

// admit keeps from olareg what it should not hear of: it remembers every name that it is asked for, so names that
// nobody pushed to are answered here.
func (r *Registry) admit(w http.ResponseWriter, req *http.Request, t target) bool {
	if t.repository == "" {
		return true
	}
	if !validRepository(t.repository) {
		ociError(w, http.StatusBadRequest, "NAME_INVALID", "the repository's name is malformed or reserved")
		return false
	}
	if !t.writes() && !r.exists(t.repository) {
		ociError(w, http.StatusNotFound, "NAME_UNKNOWN", "nothing was pushed to this repository")
		return false
	}
	if err := r.prepare(req, t.repository); err != nil {
		r.cfg.Logger.Error("prepare repository", "repository", t.repository, "error", err)
		ociError(w, http.StatusInternalServerError, "UNKNOWN", "the repository cannot be made ready")
		return false
	}
	if from := req.URL.Query().Get("from"); from != "" && (!validRepository(from) || !r.exists(from)) {
		// Nothing can be mounted from there; the client then uploads, as the specification has it.
		req.URL = withoutQuery(req.URL, "from")
	}
	return true
}

func withoutQuery(u *url.URL, key string) *url.URL {
	next := *u
	query := next.Query()
	query.Del(key)
	next.RawQuery = query.Encode()
	return &next
}

func (r *Registry) exists(repository string) bool {
	_, err := os.Stat(filepath.Join(r.dir(repository), "index.json"))
	return err == nil
}

func (r *Registry) dir(repository string) string {
	return filepath.Join(r.cfg.Dir, filepath.FromSlash(repository))
}

// readyRepositories are those that olareg has loaded.
type readyRepositories struct {
	locks keyedLocks
	names sync.Map
}

// prepare lays out the repository and has olareg load it, one request at a time. olareg marks a repository as
// existing without a lock when it first writes or reads it; with the files in place and the index loaded before any
// second request comes, that mark no longer changes.
func (r *Registry) prepare(req *http.Request, repository string) error {
	if _, ok := r.ready.names.Load(repository); ok && r.exists(repository) {
		return nil
	}
	defer r.ready.locks.lock(repository)()
	if err := layOut(r.dir(repository)); err != nil {
		return err
	}
	// No manifest has this tag by then or it has; what counts is that the index was read to find out.
	probe, err := http.NewRequestWithContext(req.Context(), http.MethodHead, "http://local/v2/"+repository+"/manifests/latest", nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.server.ServeHTTP(&reply{header: make(http.Header)}, probe)
	r.ready.names.Store(repository, struct{}{})
	return nil
}

// layOut makes an empty OCI image layout unless there is one.
func layOut(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make repository: %w", err)
	}
	for _, file := range []struct{ name, content string }{
		{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`},
		{"index.json", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`},
	} {
		if err := writeNew(filepath.Join(dir, file.name), file.content); err != nil {
			return fmt.Errorf("make repository: %w", err)
		}
	}
	return nil
}

// writeNew puts a file in place whole or not at all: one that a killed process left half would make the repository
// unreadable for good.
func writeNew(path, content string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.WriteString(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
