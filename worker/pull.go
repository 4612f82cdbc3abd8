package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/credentials"
	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
)

// eventSecrets tells that pull secrets could not be had, by the reason that clients of Kubernetes know.
const eventSecrets = "FailedToRetrieveImagePullSecret"

// wanted is a pull: what for, as whom, and who is told how it goes.
type wanted struct {
	image   string
	handler string
	keys    *credentials.Keyring
	sandbox *runtimev1.PodSandboxConfig
	tell    func(cri.PullProgress)
	every   time.Duration // how often; 0: tellPullEvery
}

// pull fetches the image and tells how long it took. Pods that want the same image by the same credentials share a pull.
func (p *puller) pull(ctx context.Context, w wanted) (time.Duration, error) {
	start := time.Now()
	auths := w.keys.For(w.image)
	spec := &runtimev1.ImageSpec{Image: w.image, RuntimeHandler: w.handler}
	flight := p.flights.DoChan(strings.Join([]string{w.handler, w.image, fingerprint(auths)}, " "), func() (any, error) {
		return nil, p.pullAs(spec, auths, w.sandbox)
	})
	ticker := time.NewTicker(cmp.Or(w.every, tellPullEvery))
	defer ticker.Stop()
	for {
		select {
		case result := <-flight:
			return time.Since(start), result.Err
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
			if at, ok := p.rt.PullProgress(ctx, spec); ok && w.tell != nil {
				w.tell(at)
			}
		}
	}
}

// pullAs tries one credential after the other, and none where there is none.
func (p *puller) pullAs(spec *runtimev1.ImageSpec, auths []*runtimev1.AuthConfig, sandbox *runtimev1.PodSandboxConfig) (err error) {
	if len(auths) == 0 {
		auths = []*runtimev1.AuthConfig{nil}
	}
	for _, auth := range auths {
		var ref string
		if ref, err = p.rt.PullImage(p.ctx, spec, auth, sandbox); err == nil {
			return p.book.came(ref, auth)
		}
		if away(err) || cri.IsNotWasm(err) {
			return err
		}
	}
	return err
}

// away reports whether the runtime did not answer, so that nothing is known. One that was given all the time there is
// for a pull has failed at it.
func away(err error) bool { return cri.IsUnavailable(err) && cri.Code(err) != codes.DeadlineExceeded }

// fingerprint tells credentials apart without holding them.
func fingerprint(auths []*runtimev1.AuthConfig) string {
	if len(auths) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, a := range auths {
		fmt.Fprintf(hash, "%q%q%q%q", a.GetUsername(), a.GetPassword(), a.GetIdentityToken(), a.GetRegistryToken())
	}
	return string(hash.Sum(nil))
}

// keyring is the pod's pull secrets. Those that cannot be had are told of; the image may be had without them.
func (a *actor) keyring(ctx context.Context) (*credentials.Keyring, error) {
	keys := &credentials.Keyring{}
	var missing []string
	for _, ref := range a.view.Pod.Spec.ImagePullSecrets {
		if ref.Name == "" || slices.Contains(missing, ref.Name) {
			continue
		}
		secret, err := a.source().Secret(ctx, a.view.Pod.Namespace, ref.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			secret.Name = ref.Name
			err = keys.Add(secret)
		}
		if err != nil {
			missing = append(missing, ref.Name)
			a.m.log.Warn("pull secret cannot be used", "pod", a.name(), "secret", ref.Name, "error", err)
		}
	}
	if len(missing) > 0 {
		a.m.events.sometimes(a.view.Pod, eventSecrets, "Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
	}
	return keys, nil
}

// pull gets the image of a container whose status tells meanwhile how far it is.
func (a *actor) pull(ctx context.Context, c *corev1.Container, handler string, sandbox *runtimev1.PodSandboxConfig) (time.Duration, error) {
	keys, err := a.keyring(ctx)
	if err != nil {
		return 0, err
	}
	return a.m.puller.pull(ctx, wanted{image: c.Image, handler: handler, keys: keys, sandbox: sandbox, tell: func(at cri.PullProgress) { a.tellPull(c, at) }})
}

// tellPull shows a pull that takes long in the container's status.
func (a *actor) tellPull(c *corev1.Container, at cri.PullProgress) {
	m := a.view.Memory[c.Name]
	before := m.Waiting
	m.Waiting = pod.Why{Reason: pod.ReasonCreating, Message: fmt.Sprintf("Pulling image %q: %s", c.Image, shareOf(at))}
	a.mu.Lock()
	mayTell := a.fromAPI && !a.gone
	a.mu.Unlock()
	a.tellStatus(mayTell, time.Now())
	m.Waiting = before
}

func shareOf(at cri.PullProgress) string {
	const mib = 1 << 20
	if at.Total == 0 {
		return fmt.Sprintf("%.1f MiB", float64(at.Done)/mib)
	}
	return fmt.Sprintf("%.1f of %.1f MiB", float64(at.Done)/mib, float64(at.Total)/mib)
}

// pullFailed notes why the container's image is not there.
func (a *actor) pullFailed(c *corev1.Container, m *pod.Memory, err error) {
	if never(err) {
		a.m.metrics.kubelet.cannotStart(a.view.Pod, c.Name, reasonNeverPull)
		m.Failed(time.Now(), pod.Why{Reason: reasonNeverPull, Message: err.Error()})
		a.m.events.warn(a.view.Pod, c.Name, reasonNeverPull, "%v", err)
		return
	}
	a.m.events.warn(a.view.Pod, c.Name, eventFailed, "Failed to pull image %q: %v", c.Image, err)
	a.m.metrics.kubelet.cannotStart(a.view.Pod, c.Name, reasonPull)
	reason, message := reasonPull, err.Error()
	if m.Failures > 0 { // not the first time: the wait is what there is to tell
		reason = reasonPullBackOff
		message = fmt.Sprintf("Back-off pulling image %q: %v", c.Image, err)
		a.m.events.everyday(a.view.Pod, c.Name, eventBackOff, "Back-off pulling image %q", c.Image)
	}
	m.Failed(time.Now(), pod.Why{Reason: reason, Message: message})
}
