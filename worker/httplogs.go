package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/logs"
	"github.com/petrelrun/petrel/worker/pod"
)

// containerLogs serves a container's log as the API server's pods/log asks for it.
func (s *nodeServer) containerLogs(w http.ResponseWriter, r *http.Request) {
	options, previous, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := s.m.named(r.PathValue("namespace"), r.PathValue("pod"))
	if a == nil {
		http.Error(w, fmt.Sprintf("pod %q is not on this node", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	name := r.PathValue("container")
	object := a.snapshot().pod
	if container(object, name) == nil {
		http.Error(w, fmt.Sprintf("container %q is not in pod %q", name, object.Name), http.StatusNotFound)
		return
	}
	attempt, err := s.attempt(a, object, name, previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	alive := func() bool { return a.writes(name, attempt) }
	path := filepath.Join(s.m.paths.logs(object), logName(name, attempt))
	out := &answer{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := logs.Copy(r.Context(), out, out.flush, path, options, alive); err != nil && !out.begun {
		code := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) {
			code, err = http.StatusNotFound, fmt.Errorf("the log of container %q is gone", name)
		}
		http.Error(w, err.Error(), code)
	}
}

// attempt is the one whose log is asked for.
func (s *nodeServer) attempt(a *actor, object *corev1.Pod, name string, previous bool) (int32, error) {
	last := int32(-1)
	if inst, ok := a.instance(name); ok {
		last = inst.attempt
	} else if lost := s.m.paths.lost(object, name); lost != nil { // the runtime has let go of an ended pod
		last = lost.Attempt
	}
	switch {
	case last < 0:
		return 0, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, object.Name, pod.ReasonCreating)
	case previous && last == 0:
		return 0, fmt.Errorf("previous terminated container %q in pod %q not found", name, object.Name)
	case previous:
		return last - 1, nil
	default:
		return last, nil
	}
}

// writes reports whether that attempt at the container may still write to its log.
func (a *actor) writes(name string, attempt int32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.shown.newest(name)
	return ok && i.attempt == attempt && i.state != pod.Exited && !a.finished
}

// answer is a response that is flushed when the log has nothing more for now.
type answer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.w.Write(p)
}

func (a *answer) flush() {
	a.begun = true
	_ = a.control.Flush()
}

// logOptions reads the query of pods/log.
func logOptions(q url.Values, now time.Time) (o logs.Options, previous bool, err error) {
	flag := func(name string) bool {
		b, e := strconv.ParseBool(q.Get(name))
		if q.Get(name) != "" && e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
		return b
	}
	number := func(name string) *int64 {
		if q.Get(name) == "" {
			return nil
		}
		n, e := strconv.ParseInt(q.Get(name), 10, 64)
		if e != nil || n < 0 {
			err = fmt.Errorf("%s: want a number that is not negative", name)
		}
		return &n
	}
	o = logs.Options{Follow: flag("follow"), Timestamps: flag("timestamps"), Tail: number("tailLines"), LimitBytes: number("limitBytes")}
	previous = flag("previous")
	switch stream := q.Get("stream"); stream {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		o.Stream = strings.ToLower(stream)
	default:
		err = fmt.Errorf("stream: want %s, %s or %s", corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr)
	}
	if seconds := number("sinceSeconds"); seconds != nil {
		o.Since = now.Add(-time.Duration(*seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		t, e := time.Parse(time.RFC3339, text)
		if e != nil {
			err = fmt.Errorf("sinceTime: %w", e)
		}
		o.Since = t
	}
	return o, previous, err
}
