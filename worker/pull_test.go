package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/worker/credentials"
	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// pullSecret is a secret with a login for each address of user:password@address.
func pullSecret(name string, logins ...string) *corev1.Secret {
	var entries []string
	for _, l := range logins {
		login, address, _ := strings.Cut(l, "@")
		user, password, _ := strings.Cut(login, ":")
		entries = append(entries, fmt.Sprintf("%q:{\"username\":%q,\"password\":%q}", address, user, password))
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{` + strings.Join(entries, ",") + `}}`)}}
}

func pullSecrets(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: n})
		}
	}
}

func TestPullSecrets(t *testing.T) {
	n := newTestNode(t,
		pullSecret("good", "u:p@r.test", "nobody:x@other.test"), pullSecret("wrong", "u:old@r.test"), pullSecret("elsewhere", "u:p@other.test"),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "no-login", Namespace: "default"}, Type: corev1.SecretTypeOpaque})
	for i, secrets := range [][]string{{"good"}, {"wrong", "good"}, {"no-login", "missing", "good"}} {
		image := fmt.Sprintf("r.test/private/image:%d", i)
		n.runtime.AddImage(image, crifake.Idle)
		n.runtime.Protect(image, "u", "p")
		name := fmt.Sprintf("pod-%d", i)
		n.create(testPod(name, image, pullSecrets(secrets...)))
		n.ready(name)
	}
	if e := n.event("pod-2", eventSecrets); e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "(no-login, missing)") {
		t.Errorf("event %s %q", e.Type, e.Message)
	}
	n.runtime.AddImage("r.test/private/other", crifake.Idle)
	n.runtime.Protect("r.test/private/other", "u", "p")
	for name, secrets := range map[string][]string{"none": nil, "wrong": {"wrong"}, "elsewhere": {"elsewhere"}} {
		n.create(testPod(name, "r.test/private/other", pullSecrets(secrets...)))
		p := n.until(name, "in ErrImagePull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonPull })
		if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "denied access") {
			t.Errorf("%s: message %q", name, got)
		}
	}
}

// TestPrivateImagesAreNotForAll: what one pod had by its secret is not another's without one, also after a restart.
func TestPrivateImagesAreNotForAll(t *testing.T) {
	n := newTestNode(t, pullSecret("good", "u:p@r.test"), pullSecret("second", "v:q@r.test"))
	n.runtime.AddImage("r.test/private", crifake.Idle)
	n.runtime.Protect("r.test/private", "u", "p")
	n.create(testPod("owner", "r.test/private", pullSecrets("good")))
	n.ready("owner")
	n.restart()
	n.create(testPod("stranger", "r.test/private"))
	p := n.until("stranger", "in ErrImagePull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonPull })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "denied access") {
		t.Errorf("message %q", got)
	}
	n.create(testPod("never", "r.test/private", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }))
	p = n.until("never", "in ErrImageNeverPull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonNeverPull })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "credentials") {
		t.Errorf("message %q", got)
	}
	n.runtime.Fail("PullImage", status.Error(codes.Unknown, "registry is away"))
	n.create(testPod("friend", "r.test/private", pullSecrets("good"))) // needs no registry
	n.ready("friend")
	n.runtime.Fail("PullImage", nil)
	// By other credentials the registry is asked once.
	n.runtime.Protect("r.test/private", "v", "q")
	n.create(testPod("other", "r.test/private", pullSecrets("second")))
	n.ready("other")
	raw, err := os.ReadFile(paths(n.cfg.RootDir).pulled())
	if err != nil || strings.Count(string(raw), ",") < 1 || strings.Contains(string(raw), "\"p\"") {
		t.Errorf("book %s, %v", raw, err)
	}
}

// TestRegistryThatIsAway: the pod says so, and goes on by itself.
func TestRegistryThatIsAway(t *testing.T) {
	n := newTestNode(t)
	n.runtime.Fail("PullImage", status.Error(codes.Unknown, "RegistryUnavailable: pull idle: registry unavailable: https://r.test: connection refused"))
	n.create(testPod("a", "idle"))
	p := n.until("a", "in ErrImagePull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonPull })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "connection refused") {
		t.Errorf("message %q", got)
	}
	n.runtime.Fail("PullImage", status.Error(codes.DeadlineExceeded, "no progress for five minutes"))
	n.create(testPod("b", "idle"))
	n.until("b", "in ErrImagePull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonPull })
	n.runtime.Fail("PullImage", nil)
	n.create(testPod("c", "idle"))
	n.ready("c")
}

func TestProgressOfPullsIsTold(t *testing.T) {
	n := newTestNode(t)
	n.runtime.AddImage("slow", crifake.Idle)
	n.runtime.SetPullProgress("slow", 3<<20, 10<<20)
	n.runtime.Delay("PullImage", time.Hour)
	client, err := cri.New(cri.Config{Endpoint: n.socket})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	set, err := runtimes.New(runtimes.Config{Wasm: client})
	if err != nil {
		t.Fatal(err)
	}
	p := &puller{rt: set, ctx: ctx, book: &pulledBook{path: filepath.Join(t.TempDir(), "pulled.json"), log: slog.New(slog.DiscardHandler)}}
	var told cri.PullProgress
	_, err = p.pull(ctx, wanted{image: "slow", keys: &credentials.Keyring{}, every: time.Millisecond, tell: func(at cri.PullProgress) {
		told = at
		cancel()
	}})
	if err == nil || shareOf(told) != "3.0 of 10.0 MiB" {
		t.Errorf("told %+v as %s, %v", told, shareOf(told), err)
	}
	if got := shareOf(cri.PullProgress{Done: 1 << 19}); got != "0.5 MiB" {
		t.Errorf("without a total: %s", got)
	}
}
