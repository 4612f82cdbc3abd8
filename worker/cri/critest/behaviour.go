package critest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logLines reads a CRI log into "stream text", checking each line's form.
func (s *suite) logLines(p *pod, path string) []string {
	s.Helper()
	file, err := os.Open(filepath.Join(p.config.GetLogDirectory(), path))
	s.must(err)
	defer file.Close()
	var out []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		parts := strings.SplitN(scanner.Text(), " ", 4)
		if len(parts) != 4 {
			s.Fatalf("log line %q: want time, stream, tag and text", scanner.Text())
		}
		if _, err := time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			s.Errorf("log line %q: %v", scanner.Text(), err)
		}
		if parts[2] != "F" && parts[2] != "P" {
			s.Errorf("log line %q: tag %q", scanner.Text(), parts[2])
		}
		out = append(out, parts[1]+" "+parts[3])
	}
	return out
}

func testLogs(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "print", "one", "complain", "two", "print", "thrée", "exit", "0")
	s.exited(id)
	lines := s.logLines(p, "main/0.log")
	for _, want := range []string{"stdout one", "stderr two", "stdout thrée"} {
		if !slices.Contains(lines, want) {
			s.Errorf("log %q lacks %q", lines, want)
		}
	}
	s.must(s.Client.RemoveContainer(s.ctx, id))
	if got := s.logLines(p, "main/0.log"); len(got) != len(lines) {
		s.Errorf("log has %d lines after the container's removal, want %d: the worker owns logs", len(got), len(lines))
	}
}

func testEnvironment(s *suite) {
	p := s.sandbox()
	s.exited(s.start(p, s.TaskImage, "main", 0, "env", "GREETING", "env", "NOT_SET"))
	lines := s.logLines(p, "main/0.log")
	for _, want := range []string{"stdout GREETING=héllo = world", "stdout NOT_SET="} {
		if !slices.Contains(lines, want) {
			s.Errorf("log %q lacks %q", lines, want)
		}
	}
}

func testServes(s *suite) {
	const port = "8642"
	p := s.sandbox(8642)
	id := s.start(p, s.ServerImage, "web", 0)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + net.JoinHostPort(p.ip, port) + "/"
	s.eventually("an answer of "+url, func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	s.must(s.Client.StopContainer(s.ctx, id, time.Second))
	if answer, err := client.Get(url); err == nil {
		answer.Body.Close()
		s.Errorf("%s still answers %s after its container was stopped", url, answer.Status)
	}
	s.must(s.Client.StartContainer(s.ctx, s.create(p, s.ServerImage, "web", 1)))
	s.eventually("an answer of the second attempt", func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func testEvents(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	events := make(chan *runtimev1.ContainerEventResponse, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Client.Events(ctx, func() {}, func(e *runtimev1.ContainerEventResponse) { events <- e })
	}()
	defer func() { cancel(); <-done }()
	time.Sleep(200 * time.Millisecond) // the server accepts the stream on its own time
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "exit", "5")
	want := []runtimev1.ContainerEventType{
		runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT,
		runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT,
		runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT,
	}
	deadline := time.After(patience)
	for len(want) > 0 {
		select {
		case e := <-events:
			if e.GetContainerId() != id {
				continue
			}
			if e.GetContainerEventType() != want[0] {
				s.Errorf("event %v, want %v", e.GetContainerEventType(), want[0])
			}
			if got := e.GetPodSandboxStatus().GetMetadata().GetUid(); got != p.config.GetMetadata().GetUid() {
				s.Errorf("event names pod %q, want %q: the worker finds the pod by it", got, p.config.GetMetadata().GetUid())
			}
			want = want[1:]
		case <-deadline:
			s.Fatalf("no event %v within %v", want[0], patience)
		}
	}
}

func testImages(s *suite) {
	missing := &runtimev1.ImageSpec{Image: "example.invalid/no/such:image"}
	image, err := s.Client.ImageStatus(s.ctx, missing)
	s.must(err)
	if image != nil {
		s.Errorf("status of an image that is not there = %v, want nil", image)
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if _, err := s.Client.PullImage(ctx, missing, nil); err == nil {
		s.Error("pulling an image that does not exist: no error")
	}
	spec := &runtimev1.ImageSpec{Image: s.TaskImage}
	ref, err := s.Client.PullImage(s.ctx, spec, nil)
	s.must(err)
	again, err := s.Client.PullImage(s.ctx, spec, nil)
	s.must(err)
	if ref == "" || ref != again {
		s.Errorf("pulled twice as %q and %q", ref, again)
	}
	image, err = s.Client.ImageStatus(s.ctx, spec)
	s.must(err)
	if image.GetId() == "" {
		s.Error("a pulled image has no status")
	}
	images, err := s.Client.ListImages(s.ctx)
	s.must(err)
	if !slices.ContainsFunc(images, func(i *runtimev1.Image) bool { return i.GetId() == image.GetId() }) {
		s.Error("a pulled image is not listed")
	}
}
