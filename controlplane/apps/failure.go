package apps

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// fatal are the reasons of a waiting container that do not mend themselves within a deploy's patience.
var fatal = map[string]string{
	"CrashLoopBackOff":           "the program ends instead of serving: its last lines say why",
	"ImagePullBackOff":           "the module cannot be fetched: check that the image exists in the registry",
	"InvalidImageName":           "correct the image's name",
	"CreateContainerConfigError": "a ConfigMap or Secret that the app names is missing",
	"CreateContainerError":       "the runtime refuses the module: the message says why",
	"RunContainerError":          "the program does not start: the message and its last lines say why",
}

// failed looks for a pod of the version that cannot come up. The version before goes on serving: a rollout takes no
// old pod down before a new one serves.
func (ro *rollout) failed(ctx context.Context, app *api.App) *Problem {
	for _, pod := range ro.pods {
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Waiting == nil || fatal[c.State.Waiting.Reason] == "" {
				continue
			}
			reason := c.State.Waiting.Reason
			p := problem(http.StatusUnprocessableEntity, "rollout_failed", "The new version does not start", "",
				fmt.Sprintf("pod %s of version %d is in %s", pod.Name, ro.o.revision.Spec.Version, reason), fatal[reason])
			p.Rollout = ro.progress(app)
			p.Rollout.Pod, p.Rollout.Condition, p.Rollout.Message, p.Rollout.Restarts = pod.Name, reason, c.State.Waiting.Message, c.RestartCount
			ended := c.LastTerminationState.Terminated
			if ended != nil {
				p.Rollout.ExitCode = ptr.To(ended.ExitCode)
			}
			p.Rollout.Logs = ro.lastLines(ctx, pod)
			if m := p.Rollout.Message; m != "" {
				p.Cause += ": " + m
				p.Detail = detail(p.Cause, p.Fix)
			}
			return p
		}
	}
	return nil
}

// refused is for an App whose objects the API would not take.
func (ro *rollout) refused(app *api.App) *Problem {
	ready := meta.FindStatusCondition(app.Status.Conditions, api.AppReady)
	if ready == nil || ready.ObservedGeneration < ro.o.app.Generation {
		return nil
	}
	switch ready.Reason {
	case api.ReasonNameTaken:
		p := problem(http.StatusConflict, "name_taken", "The app's name is in use", "app", ready.Message,
			"choose another name for the app, or remove what has the name")
		p.Rollout = ro.progress(app)
		return p
	case api.ReasonInvalid:
		p := invalid("rollout_refused", "", ready.Message, "correct what the message names and deploy again")
		p.Rollout = ro.progress(app)
		return p
	}
	return nil
}

// timedOut tells what the version still waits for. It goes on coming up all the same.
func (ro *rollout) timedOut(ctx context.Context) *Problem {
	app, _ := ro.s.cached(ro.d.key)
	state := ro.progress(app)
	status, code, title := http.StatusGatewayTimeout, "rollout_timeout", "The new version did not serve in time"
	cause := fmt.Sprintf("version %d did not serve within %s", ro.o.revision.Spec.Version, ro.d.timeout)
	fix := "the rollout goes on: look with `petrel ls` or GET the app, or deploy again with a longer ?timeout="
	for _, pod := range ro.pods {
		scheduled := podCondition(pod, corev1.PodScheduled)
		if scheduled != nil && scheduled.Status == corev1.ConditionFalse {
			status, code, title = http.StatusServiceUnavailable, "unschedulable", "No node takes the pods"
			state.Pod, state.Condition, state.Message = pod.Name, scheduled.Reason, scheduled.Message
			fix = "the message names what each node lacks; the rollout goes on when one has room"
			break
		}
		if ready := podCondition(pod, corev1.PodReady); ready == nil || ready.Status != corev1.ConditionTrue {
			state.Pod, state.Condition, state.Message = pod.Name, string(pod.Status.Phase), notReadyMessage(pod)
			state.Logs = ro.lastLines(ctx, pod)
		}
	}
	if state.Message != "" {
		cause += ": " + state.Message
	}
	p := problem(status, code, title, "", cause, fix)
	p.Rollout = state
	if status == http.StatusServiceUnavailable {
		p.retryAfter = "5"
	}
	return p
}

func notReadyMessage(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	if ready := podCondition(pod, corev1.PodReady); ready != nil && ready.Message != "" {
		return ready.Message
	}
	return "pod " + pod.Name + " is not ready"
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// unanswered: the pods serve, but nothing came through the gateway.
func (ro *rollout) unanswered(last string) *Problem {
	app, _ := ro.s.cached(ro.d.key)
	p := problem(http.StatusGatewayTimeout, "no_response", "The app did not answer in time", "",
		fmt.Sprintf("version %d is ready, but its URL did not answer within %s: %s", ro.o.revision.Spec.Version, ro.d.timeout, last),
		"look at the app's logs with `petrel logs "+ro.d.key.Name+"`; check that a worker and its gateway run")
	p.Rollout = ro.progress(app)
	return p
}

func (ro *rollout) gone() *Problem {
	return problem(http.StatusConflict, "removed", "The app was removed", "app",
		fmt.Sprintf("app %s was removed while version %d was coming up", ro.d.key.Name, ro.o.revision.Spec.Version), "deploy it again")
}

func (ro *rollout) progress(app *api.App) *RolloutProblem {
	elapsed := ro.d.timeout - ro.deadline.Sub(ro.d.now())
	out := &RolloutProblem{
		Version: ro.o.revision.Spec.Version, ElapsedMS: millis(elapsed), AllowedMS: millis(ro.d.timeout),
	}
	if ro.o.previous != nil && app != nil && app.Status.ReadyReplicas > 0 {
		out.Serving = ro.o.previous.Version
	}
	return out
}

// lastLines reads the end of a pod's log. A container that waits to start again may have its last words in the run
// before.
func (ro *rollout) lastLines(ctx context.Context, pod *corev1.Pod) []string {
	ctx, cancel := context.WithTimeout(ctx, problemLogPatience)
	defer cancel()
	for _, previous := range []bool{false, true} {
		lines, err := ro.readLines(ctx, pod, previous)
		if err != nil {
			ro.s.cfg.Logger.Debug("read log of failed pod", "pod", pod.Name, "previous", previous, "error", err)
		}
		if len(lines) > 0 {
			return lines
		}
	}
	return nil
}

func (ro *rollout) readLines(ctx context.Context, pod *corev1.Pod, previous bool) ([]string, error) {
	stream, err := ro.s.cfg.Logs.Open(ctx, pod.Namespace, pod.Name, &corev1.PodLogOptions{
		Container: api.ContainerName, TailLines: ptr.To[int64](problemLogLines), Previous: previous,
	})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var lines []string
	scanner := bufio.NewScanner(stream)
	scanner.Buffer(nil, maxLogLine)
	for len(lines) < problemLogLines && scanner.Scan() {
		line := scanner.Text()
		if len(line) > problemLineLength {
			line = strings.ToValidUTF8(line[:problemLineLength], "") + "…"
		}
		lines = append(lines, line)
	}
	return lines, scanner.Err()
}
