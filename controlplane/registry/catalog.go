package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
)

// maxCatalogPage bounds one page of the catalog, and is its size where the client names none.
const maxCatalogPage = 1000

// catalog lists the repositories: GET /v2/_catalog, which olareg leaves out. n and last page through it as
// registries commonly do.
func (r *Registry) catalog(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	n := maxCatalogPage
	if text := query.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 1 {
			ociError(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is no positive number")
			return
		}
		n = min(asked, maxCatalogPage)
	}
	names, err := r.repositories()
	if err != nil {
		r.cfg.Logger.Error("list repositories", "error", err)
		ociError(w, http.StatusInternalServerError, "UNKNOWN", "the repositories cannot be listed")
		return
	}
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(names, last)
		if found {
			i++
		}
		names = names[i:]
	}
	if len(names) > n {
		names = names[:n]
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}}
		w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?%s>; rel="next"`, next.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	// The client is gone when this fails; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(map[string][]string{"repositories": names})
}

// repositories finds every image layout below the directory, sorted by name.
func (r *Registry) repositories() ([]string, error) {
	names := []string{}
	err := filepath.WalkDir(r.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // nothing was pushed yet, or it went while we walked
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "blobs":
			return fs.SkipDir
		case d.IsDir() || d.Name() != "index.json":
			return nil
		}
		name, err := filepath.Rel(r.cfg.Dir, filepath.Dir(path))
		if err == nil {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(names)
	return names, err
}
