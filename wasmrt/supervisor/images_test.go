package supervisor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

func TestPullInfo(t *testing.T) {
	at := image.Progress{Done: 3, Total: 10, Started: time.Unix(1, 0)}
	if got := pullInfo(at); got != `{"bytesDone":3,"bytesTotal":10,"startedAt":"1970-01-01T00:00:01Z"}` {
		t.Error(got)
	}
}

// TestPullsAreToldAndShowTheirOwnCredentials pulls from a registry that notes what it is shown and then waits.
func TestPullsAreToldAndShowTheirOwnCredentials(t *testing.T) {
	var mu sync.Mutex
	shown := map[string]bool{}
	asked := make(chan struct{}, 100)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth()
		if ok {
			mu.Lock()
			shown[user] = true
			mu.Unlock()
		}
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer registry.Close()
	s := newSupervisor(t)
	if _, err := s.images.Open(); err != nil {
		t.Fatal(err)
	}
	defer s.puller.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pulls sync.WaitGroup
	defer pulls.Wait()
	defer cancel()
	for user, server := range map[string]string{"ours": "https://" + host + "/v1/", "theirs": "registry.example.com"} {
		pulls.Go(func() {
			_, err := s.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: host + "/" + user + ":v1"},
				Auth: &runtimev1.AuthConfig{Username: user, Password: "p", ServerAddress: server}})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v", user, err)
			}
		})
		<-asked
	}
	for _, verbose := range []bool{true, false} {
		answer, err := s.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: host + "/ours:v1"}, Verbose: verbose})
		if err != nil || answer.GetImage() != nil || strings.Contains(answer.GetInfo()["pull"], `"bytesDone":0`) != verbose {
			t.Errorf("verbose %t: %v, %v", verbose, answer, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !shown["ours"] || shown["theirs"] {
		t.Errorf("the registry was shown %v", shown)
	}
}
