package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// logQuery is what a request for logs asks for.
type logQuery struct {
	key    types.NamespacedName
	follow bool
	since  time.Time
	tail   *int64 // for each pod
}

func (s *Server) getLogs(w http.ResponseWriter, r *http.Request) {
	app, p := s.find(r)
	if p != nil {
		p.write(w, r)
		return
	}
	q, p := readLogQuery(r, s.cfg.Now())
	if p != nil {
		p.write(w, r)
		return
	}
	q.key = types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	out := newLogWriter(w, r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if q.follow {
		s.followLogs(ctx, q, out)
	} else {
		s.mergeLogs(ctx, q, out)
	}
}

func readLogQuery(r *http.Request, now time.Time) (logQuery, *Problem) {
	values := r.URL.Query()
	var q logQuery
	var p *Problem
	if q.follow, p = flag(values, "follow", false); p != nil {
		return q, p
	}
	if text := values.Get("tail"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return q, badRequest("tail", "tail="+text+" is no number of lines", "write tail=100")
		}
		q.tail = &n
	}
	if text := values.Get("since"); text != "" {
		since, err := parseSince(text, now)
		if err != nil {
			return q, badRequest("since", err.Error(), "write a duration such as since=10m, or a time such as since="+now.UTC().Format(time.RFC3339))
		}
		q.since = since
	}
	return q, nil
}

func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("since=%s is neither a duration nor a time", text)
	}
	return t, nil
}

// podOptions are the query's for one pod.
func (q *logQuery) podOptions() *corev1.PodLogOptions {
	opts := &corev1.PodLogOptions{Timestamps: true, Follow: q.follow, TailLines: q.tail}
	if !q.since.IsZero() {
		since := metav1.NewTime(q.since)
		opts.SinceTime = &since
	}
	return opts
}

// logPods are the app's pods that have something to say, the newest first.
func (s *Server) logPods(key types.NamespacedName) []*corev1.Pod {
	pods := slices.DeleteFunc(ofApp[*corev1.Pod](s.pods, key), func(p *corev1.Pod) bool {
		return p.Spec.NodeName == "" || len(p.Spec.Containers) == 0
	})
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pods
}

// logWriter writes lines as NDJSON or as text, and sees to it that they arrive.
type logWriter struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	enc  *json.Encoder
	text bool
}

func newLogWriter(w http.ResponseWriter, r *http.Request) *logWriter {
	out := &logWriter{w: w, ctl: http.NewResponseController(w), enc: json.NewEncoder(w), text: wantsText(r)}
	out.enc.SetEscapeHTML(false)
	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/x-ndjson")
	if out.text {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(http.StatusOK)
	out.flush()
	return out
}

func (o *logWriter) write(l *LogLine) error {
	if !o.text {
		return o.enc.Encode(l)
	}
	if l.Notice != "" {
		_, err := fmt.Fprintf(o.w, "-- %s\n", l.Notice)
		return err
	}
	_, err := fmt.Fprintf(o.w, "%s %s %s\n", l.Time.UTC().Format(time.RFC3339Nano), l.Pod, l.Line)
	return err
}

// flush has what was written sent. A writer that cannot flush sends when it likes, which only delays.
func (o *logWriter) flush() { _ = o.ctl.Flush() }

// leftOut tells of pods that are not read, never silently.
func leftOut(pods int) *LogLine {
	return &LogLine{Notice: fmt.Sprintf("only the newest %d of %d pods are read; ask for one of the others with kubectl logs", maxLogPods, pods)}
}
