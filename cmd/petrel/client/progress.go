package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/petrelrun/petrel/controlplane/apps"
)

// progressPeriod is how often the line of a waiting deploy changes.
const progressPeriod = 200 * time.Millisecond

// clearLine takes a line off a terminal.
const clearLine = "\r\x1b[K"

// progress shows on a terminal how a deploy comes along, until stop, which may be called more than once.
func (o *options) progress(ctx context.Context, app string) (stop func()) {
	file, ok := o.Err.(*os.File)
	if !ok || o.json() || !term.IsTerminal(int(file.Fd())) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		started := time.Now()
		ticker := time.NewTicker(progressPeriod)
		defer ticker.Stop()
		defer fmt.Fprint(o.Err, clearLine)
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				fmt.Fprintf(o.Err, "%sdeploying %s  %.1f s  %s", clearLine, app, time.Since(started).Seconds(), o.stage(ctx, app))
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); group.Wait() })
}

// stage is what the app says of itself. Before there is one, the module is on its way.
func (o *options) stage(ctx context.Context, app string) string {
	quiet := *o
	quiet.showHTTP = false
	var a apps.App
	_, err := quiet.fetch(ctx, call{
		method: http.MethodGet, path: "/v1/apps/" + url.PathEscape(app), query: url.Values{"namespace": {o.namespace}},
	}, &a)
	if err != nil || a.LatestVersion == 0 {
		return "uploading and checking"
	}
	return fmt.Sprintf("version %d: %d of %d pods ready", a.LatestVersion, a.ReadyReplicas, a.Replicas)
}
