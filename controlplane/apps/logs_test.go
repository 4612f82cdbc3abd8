package apps

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/controlplane/apps/apptest"
)

func (w *world) logLines(path string) []LogLine {
	w.Helper()
	a := w.do(http.MethodGet, path, nil)
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/x-ndjson" {
		w.Fatalf("%s %s\n%s", a.Status, a.Header.Get("Content-Type"), a.body)
	}
	var out []LogLine
	for line := range strings.Lines(string(a.body)) {
		var l LogLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			w.Fatalf("%v: %s", err, line)
		}
		out = append(out, l)
	}
	return out
}

func joined(lines []LogLine) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Line+l.Notice)
	}
	return strings.Join(out, "|")
}

func TestLogsAreMergedByTime(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello?replicas=2", apptest.Reactor("one"), http.StatusCreated)
	w.logs.say("hello-0001", "2030-01-01T00:00:01Z one", "2030-01-01T00:00:04Z four")
	w.logs.say("hello-0002", "2030-01-01T00:00:02Z two", "a line of the node's", "2030-01-01T00:00:05Z five")
	lines := w.logLines("/v1/apps/hello/logs")
	if got := joined(lines); got != "one|two|a line of the node's|four|five" {
		t.Errorf("lines %s", got)
	}
	if l := lines[1]; l.Pod != "hello-0002" || l.Container != "app" || !l.Time.Equal(time.Date(2030, 1, 1, 0, 0, 2, 0, time.UTC)) {
		t.Errorf("line %+v", l)
	}
	if got := joined(w.logLines("/v1/apps/hello/logs?tail=1")); got != "four|five" {
		t.Errorf("the last line of each pod: %s", got)
	}
	text := w.do(http.MethodGet, "/v1/apps/hello/logs", nil, "Accept", "text/plain")
	if !strings.Contains(string(text.body), "2030-01-01T00:00:02Z hello-0002 two\n") {
		t.Errorf("text:\n%s", text.body)
	}
	w.logs.mu.Lock()
	w.logs.fails = map[string]error{"hello-0001": errors.New("the node is away")}
	w.logs.mu.Unlock()
	if got := joined(w.logLines("/v1/apps/hello/logs")); !strings.Contains(got, "the node is away") || !strings.Contains(got, "two") {
		t.Errorf("with one node away: %s", got)
	}
}

func TestLogQueries(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	w.logLines("/v1/apps/hello/logs?since=10m")
	asked := w.logs.options()
	if o := asked[len(asked)-1]; o.SinceTime == nil || time.Since(o.SinceTime.Time) < 9*time.Minute || !o.Timestamps || o.Container != "app" {
		t.Errorf("options %+v", o)
	}
	w.logLines("/v1/apps/hello/logs?since=2030-01-01T00:00:00Z")
	for _, query := range []string{"tail=few", "tail=-1", "since=yesterday", "since=-1m", "follow=perhaps"} {
		w.problem(http.MethodGet, "/v1/apps/hello/logs?"+query, nil, 400, "bad_request")
	}
	w.problem(http.MethodGet, "/v1/apps/none/logs", nil, 404, "not_found")
}

// A follow goes over pods that come and go, and ends with the app.
func TestFollowLogs(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	w.logs.say("hello-0001", "2030-01-01T00:00:01Z early", "2030-01-01T00:00:02Z late")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.http.URL+"/v1/apps/hello/logs?follow=1&tail=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	scanner := bufio.NewScanner(resp.Body)
	next := func(want string) {
		t.Helper()
		if !scanner.Scan() {
			t.Fatalf("ended before %q: %v", want, scanner.Err())
		}
		var l LogLine
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil || l.Line != want {
			t.Fatalf("got %s, want %q (%v)", scanner.Bytes(), want, err)
		}
	}
	next("late")
	w.logs.say("hello-0001", "2030-01-01T00:00:03Z now")
	next("now")
	w.logs.say("hello-0002", "2030-01-01T00:00:04Z new pod", "2030-01-01T00:00:05Z its second line")
	w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated)
	next("new pod")
	next("its second line")
	if a := w.do(http.MethodDelete, "/v1/apps/hello", nil); a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	w.logs.end()
	if scanner.Scan() {
		t.Errorf("after the end: %s", scanner.Text())
	}
}

// end ends every open log, as a container's end does.
func (l *fakeLogs) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

func TestLongLines(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	long := strings.Repeat("x", maxLogLine) // with its time it is longer than a line may be
	w.logs.say("hello-0001", "2030-01-01T00:00:01Z "+long, "2030-01-01T00:00:02Z short")
	lines := w.logLines("/v1/apps/hello/logs")
	if len(lines) != 3 || lines[0].Line+lines[1].Line != long || lines[1].Time != lines[0].Time || lines[2].Line != "short" {
		t.Errorf("%d lines", len(lines))
	}
}

func TestLogsOfManyPods(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello?replicas=70", apptest.Reactor("one"), http.StatusCreated)
	lines := w.logLines("/v1/apps/hello/logs")
	if len(lines) != 1 || !strings.Contains(lines[0].Notice, "64 of 70") {
		t.Errorf("lines %+v", lines)
	}
}
