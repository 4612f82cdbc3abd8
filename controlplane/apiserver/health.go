package apiserver

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"k8s.io/apimachinery/pkg/version"
)

// The version of the API that is spoken; what follows the plus says by whom.
const (
	versionMajor = "1"
	versionMinor = "37"
	gitVersion   = "v1.37.2+petrel"
)

func (s *Server) routeHealth() {
	live := map[string]func() error{"ping": func() error { return nil }}
	ready := maps.Clone(live)
	ready["store"] = func() error {
		if s.registry.Revision() == 0 {
			return errors.New("the watch cache is not filled yet")
		}
		return nil
	}
	ready["bootstrap"] = func() error {
		if !s.ready.Load() {
			return errors.New("not serving: starting or shutting down")
		}
		return nil
	}
	maps.Copy(ready, s.cfg.Ready)
	for path, checks := range map[string]map[string]func() error{"/livez": live, "/healthz": live, "/readyz": ready} {
		s.echo.GET(path, s.open(s.health(strings.TrimPrefix(path, "/"), checks)))
		for name, check := range checks {
			s.echo.GET(path+"/"+name, s.open(s.health(strings.TrimPrefix(path, "/"), map[string]func() error{name: check})))
		}
	}
	info := version.Info{
		Major: versionMajor, Minor: versionMinor, EmulationMajor: versionMajor, EmulationMinor: versionMinor,
		GitVersion: gitVersion, GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	version := s.open(func(c echo.Context) error { return writePlain(c, http.StatusOK, form{}, info) })
	s.echo.GET("/version", version)
	s.echo.GET("/version/", version)
}

// health runs checks and says in words how they went: all of it when one failed or the client wants to know.
func (s *Server) health(name string, checks map[string]func() error) echo.HandlerFunc {
	return func(c echo.Context) error {
		var report strings.Builder
		code := http.StatusOK
		for _, n := range slices.Sorted(maps.Keys(checks)) {
			switch {
			case slices.Contains(c.QueryParams()["exclude"], n):
				fmt.Fprintf(&report, "[+]%s excluded: ok\n", n)
			case checks[n]() != nil:
				code = http.StatusServiceUnavailable
				fmt.Fprintf(&report, "[-]%s failed: %v\n", n, checks[n]())
			default:
				fmt.Fprintf(&report, "[+]%s ok\n", n)
			}
		}
		c.Response().Header().Set("Cache-Control", "no-cache, private")
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case code != http.StatusOK:
			return c.String(code, report.String()+name+" check failed\n")
		case boolean(c.QueryParams(), "verbose"):
			return c.String(code, report.String()+name+" check passed\n")
		}
		return c.String(code, "ok")
	}
}
