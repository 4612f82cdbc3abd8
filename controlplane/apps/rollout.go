package apps

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/petrelrun/petrel/controlplane/api"
)

// rollout watches a version come up. It decides nothing: leaving it early changes nothing in the cluster.
type rollout struct {
	s *Server
	d *deploy
	o *outcome

	deadline time.Time
	bound    time.Time // when a pod of the version was first seen on a node
	running  time.Time // and when one was first seen to run
	pods     []*corev1.Pod
	seen     bool // the cache has had the App
}

// await waits until the version serves and has answered, and fills the figures in.
func (s *Server) await(ctx context.Context, d *deploy, o *outcome, out *Deployed) *Problem {
	ro := &rollout{s: s, d: d, o: o, deadline: d.now().Add(d.timeout)}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if p := ro.untilReady(ctx); p != nil {
		return p
	}
	if o.superseded {
		d.warn("version %d was deployed meanwhile and serves instead", o.app.Spec.Version)
		return nil
	}
	out.Ready = true
	if p := ro.untilAnswered(ctx); p != nil {
		return p
	}
	ro.readFigures(ctx, out)
	return nil
}

// untilReady waits for the App to tell that the version's pods serve, or for a pod to tell that they will not.
func (ro *rollout) untilReady(ctx context.Context) *Problem {
	woken, stop := ro.s.signals.wait(ro.d.key)
	defer stop()
	again := time.NewTicker(recheck)
	defer again.Stop()
	for {
		done, p := ro.look(ctx)
		if done || p != nil {
			return p
		}
		select {
		case <-woken:
		case <-again.C:
		case <-ctx.Done():
			return ro.timedOut(context.WithoutCancel(ctx))
		}
	}
}

// look takes the state in once.
func (ro *rollout) look(ctx context.Context) (bool, *Problem) {
	app, ok := ro.s.cached(ro.d.key)
	ours := ok && app.UID == ro.o.app.UID
	if ro.seen && !ours {
		return false, ro.gone()
	}
	ro.seen = ours
	ro.takePods()
	if !ours || app.Generation < ro.o.app.Generation {
		return false, nil // the cache does not know of the deploy yet
	}
	if app.DeletionTimestamp != nil {
		return false, ro.gone()
	}
	version := ro.o.revision.Spec.Version
	if app.Spec.Version > version {
		ro.o.app, ro.o.superseded = app, true
		return true, nil
	}
	if app.Status.ObservedGeneration < ro.o.app.Generation || app.Status.ActiveVersion != version {
		return false, nil
	}
	if meta.IsStatusConditionTrue(app.Status.Conditions, api.AppReady) {
		return true, nil
	}
	if p := ro.refused(app); p != nil {
		return false, p
	}
	return false, ro.failed(ctx, app)
}

// takePods finds the version's pods and notes when they came how far.
func (ro *rollout) takePods() {
	version := strconv.FormatInt(ro.o.revision.Spec.Version, 10)
	ro.pods = ro.pods[:0]
	for _, pod := range ofApp[*corev1.Pod](ro.s.pods, ro.d.key) {
		if pod.Labels[api.LabelVersion] == version && pod.DeletionTimestamp == nil {
			ro.pods = append(ro.pods, pod)
		}
	}
	for _, pod := range ro.pods {
		if ro.bound.IsZero() && pod.Spec.NodeName != "" {
			ro.bound = ro.d.now()
			if ro.o.made {
				ro.d.timings["schedule"] = millis(ro.bound.Sub(ro.o.written))
			}
		}
		if ro.running.IsZero() && pod.Status.Phase == corev1.PodRunning {
			ro.running = ro.d.now()
		}
	}
}

// untilAnswered asks the app's URL until the version answers.
func (ro *rollout) untilAnswered(ctx context.Context) *Problem {
	if ro.s.cfg.Gateway == nil {
		return nil
	}
	from := ro.running
	if from.IsZero() || !ro.o.made {
		from = ro.d.now()
	}
	var last string
	asked := ro.d.now()
	for wait := firstProbePause; ; wait = min(wait*2, lastProbePause) {
		status, own, why := ro.probe(ctx)
		if why == "" && (!own || ro.d.now().Sub(asked) > gatewayGrace) {
			ro.d.timings["first_response"] = millis(ro.d.now().Sub(from))
			if status >= 500 {
				ro.d.warn("the first request was answered with status %d: see the app's logs", status)
			}
			return nil
		}
		if last = why; last == "" {
			last = "the gateway answers " + strconv.Itoa(status)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ro.unanswered(last)
		}
	}
}

// probe asks once. own tells that the answer may be the gateway's: it knows no such app yet, or no pod of it. why is
// what was wrong with the answer otherwise.
func (ro *rollout) probe(ctx context.Context) (status int, own bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answer, err := ro.s.cfg.Gateway.Probe(ctx, ro.s.cfg.URL(ro.d.key.Namespace, ro.d.key.Name))
	if err != nil {
		return 0, false, err.Error()
	}
	if answer.Pod == "" {
		return answer.Status, answer.Status == 404 || answer.Status >= 502 && answer.Status <= 504, ""
	}
	ro.takePods()
	for _, pod := range ro.pods {
		if pod.Name == answer.Pod {
			return answer.Status, false, ""
		}
	}
	return answer.Status, false, "pod " + answer.Pod + " of another version answers"
}
