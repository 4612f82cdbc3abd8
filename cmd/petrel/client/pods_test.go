package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/apps/apptest"
)

// fakePods is as much of the Kubernetes API as petrel run and petrel logs use. A pod does what its arguments say:
// print X, complain X, exit N, hang 1, fetch 1 (its image cannot be had), serve 1 (it turns out to be an HTTP guest).
type fakePods struct {
	mu   sync.Mutex
	pods map[string]*fakePod
	uids int
}

type fakePod struct {
	pod      corev1.Pod
	out, err []string
	ended    chan struct{}
	looks    int
}

func (f *fakePods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(parts) == 2 && r.Method == http.MethodPost {
		f.create(w, r)
		return
	}
	name := ""
	if len(parts) > 2 {
		name = parts[2]
	}
	p := f.pods[name]
	if p == nil {
		status := apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name).ErrStatus
		status.Kind, status.APIVersion = "Status", "v1"
		answer(w, http.StatusNotFound, &status)
		return
	}
	switch {
	case len(parts) == 4 && parts[3] == "log":
		f.log(w, r, p)
	case r.Method == http.MethodDelete:
		delete(f.pods, name)
		answer(w, http.StatusOK, &p.pod)
	default:
		p.step()
		answer(w, http.StatusOK, &p.pod)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fakePods) create(w http.ResponseWriter, r *http.Request) {
	p := &fakePod{ended: make(chan struct{})}
	if err := json.NewDecoder(r.Body).Decode(&p.pod); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.uids++
	p.pod.UID, p.pod.Kind, p.pod.APIVersion = types.UID(strconv.Itoa(f.uids)), "Pod", "v1"
	if f.pods == nil {
		f.pods = map[string]*fakePod{}
	}
	f.pods[p.pod.Name] = p
	answer(w, http.StatusCreated, &p.pod)
}

// step takes the pod from pending over running to its end, one look of the client at a time.
func (p *fakePod) step() {
	p.looks++
	c := p.pod.Spec.Containers[0]
	status := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	p.pod.Status.Phase = corev1.PodRunning
	status.State.Running = &corev1.ContainerStateRunning{}
	switch {
	case p.looks == 1:
		p.pod.Status.Phase = corev1.PodPending
		return
	case p.does("fetch"):
		status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}}
	case p.does("serve"):
		p.pod.Annotations = map[string]string{"petrel.run/kind": "reactor"}
	case p.does("hang"):
	default:
		p.end(&status)
	}
	p.pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
}

func (p *fakePod) does(verb string) bool {
	return len(p.pod.Spec.Containers[0].Args) > 0 && p.pod.Spec.Containers[0].Args[0] == verb
}

func (p *fakePod) end(status *corev1.ContainerStatus) {
	select {
	case <-p.ended:
	default:
		c := p.pod.Spec.Containers[0]
		for _, e := range c.Env {
			p.out = append(p.out, e.Name+"="+e.Value)
		}
		for i := 0; i+1 < len(c.Args); i += 2 {
			switch c.Args[i] {
			case "print":
				p.out = append(p.out, c.Args[i+1])
			case "complain":
				p.err = append(p.err, c.Args[i+1])
			}
		}
		close(p.ended)
	}
	ended := &corev1.ContainerStateTerminated{Reason: "Completed"}
	p.pod.Status.Phase = corev1.PodSucceeded
	for i, a := range p.pod.Spec.Containers[0].Args {
		if a == "exit" {
			code, _ := strconv.Atoi(p.pod.Spec.Containers[0].Args[i+1])
			ended.ExitCode, ended.Reason, p.pod.Status.Phase = int32(code), "Error", corev1.PodFailed
		}
	}
	status.State = corev1.ContainerState{Terminated: ended}
}

func (f *fakePods) log(w http.ResponseWriter, r *http.Request, p *fakePod) {
	q := r.URL.Query()
	if p.does("hang") && q.Get("follow") == "true" {
		w.(http.Flusher).Flush()
		f.mu.Unlock()
		<-r.Context().Done()
		f.mu.Lock()
		return
	}
	lines := append(append([]string(nil), p.out...), p.err...)
	switch q.Get("stream") {
	case corev1.LogStreamStdout:
		lines = p.out
	case corev1.LogStreamStderr:
		lines = p.err
	}
	for _, line := range lines {
		if q.Get("timestamps") == "true" {
			line = "2030-01-01T00:00:00.5Z " + line
		}
		fmt.Fprintln(w, line)
	}
}

// Open is the deploy API's way to the logs of an app's pods.
func (f *fakePods) Open(ctx context.Context, _, pod string, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	text := "2030-01-01T00:00:00Z hello from " + pod + "\n"
	if !opts.Timestamps {
		text = "panic: no database\n"
	}
	if !opts.Follow {
		return io.NopCloser(strings.NewReader(text)), nil
	}
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, text)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
		w.Close()
	}()
	return r, nil
}

// behaviour of an app's pods: the module from Hello_2.wasm is pushed as hello-2 and serves; an app named crash crashes.
func (f *fakePods) behaviour(image string) apptest.Behaviour {
	if strings.Contains(image, "/crash@") {
		return apptest.Crashes
	}
	return apptest.Serves
}
