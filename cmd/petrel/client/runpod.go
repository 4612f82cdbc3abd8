package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/controlplane/registry"
)

const (
	// firstLook and lastLook bound the pause between two looks at the pod: a small module runs within milliseconds,
	// one that waits for a node may wait for minutes.
	firstLook = 10 * time.Millisecond
	lastLook  = 250 * time.Millisecond
	// sayWaiting is when a pod that has no node yet is worth a word.
	sayWaiting = 2 * time.Second
	// suffixLength makes a pod's name its own.
	suffixLength = 5
	// runGracePeriod is how long an interrupted program may take to end, in seconds.
	runGracePeriod = 2
	// runContainer is the container's name.
	runContainer = "run"
)

// stuck are the reasons of a waiting container that waiting does not mend.
var stuck = []string{
	"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
}

// push brings the module into the control plane's registry and names it by digest.
func (o *runOptions) push(ctx context.Context, m *moduleFile, name string) (string, error) {
	if name == "" {
		name = "module"
	}
	repository := o.namespace + "/" + name
	digest, err := registry.Push(ctx, &http.Client{Transport: o.roundTripper()}, o.server, repository, m)
	if err != nil {
		return "", err
	}
	return api.Image{Host: api.RegistryHost, Repository: repository, Digest: digest}.String(), nil
}

// wholeImage makes a short name one of the control plane's registry.
func (o *runOptions) wholeImage(arg string) (string, error) {
	img, err := api.ParseImage(arg)
	if err != nil {
		return "", usageError{fmt.Errorf("the image %q %w, and there is no such file", arg, err)}
	}
	if img.Host == "" && !strings.Contains(img.Repository, "/") {
		img.Repository = o.namespace + "/" + img.Repository
	}
	if img.Host == "" || img.Host == o.host() {
		img.Host = api.RegistryHost
	}
	return img.String(), nil
}

// pod makes the one-shot pod.
func (o *runOptions) pod(arg, image string, args []string) (*corev1.Pod, error) {
	env, err := parseEnv(o.env)
	if err != nil {
		return nil, err
	}
	name := o.name
	if name == "" {
		name = strings.TrimPrefix(nameFor(arg)+"-"+rand.String(suffixLength), "-")
	}
	container := corev1.Container{Name: runContainer, Image: image, Args: args, Stdin: o.stdin, StdinOnce: o.stdin}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: k, Value: strings.ReplaceAll(env[k], "$(", "$$(")})
	}
	// $(NAME) in a pod's arguments is replaced; the program is to get what was typed.
	for i, a := range container.Args {
		container.Args[i] = strings.ReplaceAll(a, "$(", "$$(")
	}
	if o.memory != "" {
		limit, err := resource.ParseQuantity(o.memory)
		if err != nil {
			return nil, usageError{fmt.Errorf("--memory %s: write bytes as 64Mi or 1Gi", o.memory)}
		}
		container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: limit}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{container},
			AutomountServiceAccountToken: ptr.To(false), EnableServiceLinks: ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](runGracePeriod),
		},
	}
	if o.wallTime > 0 {
		pod.Annotations = map[string]string{api.AnnotationWallTime: o.wallTime.String()}
	}
	return pod, nil
}

// look reads the pod again and again until done tells that it is far enough.
func (r *runner) look(ctx context.Context, done func(*corev1.Pod) (bool, error)) error {
	for wait := firstLook; ; wait = min(wait*3/2, lastLook) {
		pod, err := r.client.CoreV1().Pods(r.pod.Namespace).Get(ctx, r.pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && pod.UID != r.pod.UID {
			return fmt.Errorf("pod %s was removed while it ran", r.pod.Name)
		}
		if err != nil {
			return fmt.Errorf("read pod: %w", err)
		}
		if ok, err := done(pod); ok || err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// untilStarted waits for the container, or for a reason that there will be none.
func (r *runner) untilStarted(ctx context.Context) error {
	said := false
	return r.look(ctx, func(pod *corev1.Pod) (bool, error) {
		if pod.Annotations[api.AnnotationKind] == api.KindReactor {
			return false, fmt.Errorf("the module serves HTTP and never ends: deploy it with `petrel deploy`")
		}
		if state := stateOf(pod); state != nil {
			if state.Running != nil || state.Terminated != nil {
				return true, nil
			}
			if w := state.Waiting; w != nil && slices.Contains(stuck, w.Reason) {
				return false, fmt.Errorf("pod %s does not start: %s: %s", pod.Name, w.Reason, w.Message)
			}
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("pod %s failed: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message)
		}
		if !said && time.Since(r.started) > sayWaiting {
			said = r.sayWhy(pod)
		}
		return false, nil
	})
}

// sayWhy tells once what a pod that no node takes waits for.
func (r *runner) sayWhy(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			fmt.Fprintf(r.Err, "petrel: pod %s waits for a node: %s\n", pod.Name, c.Message)
			return true
		}
	}
	return false
}

func stateOf(pod *corev1.Pod) *corev1.ContainerState {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == runContainer {
			return &pod.Status.ContainerStatuses[i].State
		}
	}
	return nil
}

// untilEnded waits for the exit code, which comes a moment after the output's end.
func (r *runner) untilEnded(ctx context.Context) (*corev1.ContainerStateTerminated, error) {
	var ended *corev1.ContainerStateTerminated
	err := r.look(ctx, func(pod *corev1.Pod) (bool, error) {
		if state := stateOf(pod); state != nil {
			ended = state.Terminated
		}
		if ended == nil && (pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded) {
			return false, fmt.Errorf("pod %s ended without telling how: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message)
		}
		return ended != nil, nil
	})
	return ended, err
}

// stream copies the program's two outputs to petrel's own, as they come.
func (r *runner) stream(ctx context.Context) error {
	var group sync.WaitGroup
	var mu sync.Mutex // two outputs, one JSON stream
	errs := make([]error, 2)
	for i, stream := range []string{corev1.LogStreamStdout, corev1.LogStreamStderr} {
		group.Go(func() { errs[i] = r.copyStream(ctx, stream, &mu) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (r *runner) copyStream(ctx context.Context, stream string, mu *sync.Mutex) error {
	log, err := r.client.CoreV1().Pods(r.pod.Namespace).GetLogs(r.pod.Name, &corev1.PodLogOptions{
		Container: runContainer, Follow: true, Stream: &stream,
	}).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	defer log.Close()
	out := r.Out
	if stream == corev1.LogStreamStderr {
		out = r.Err
	}
	return eachLine(log, func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		if r.json() {
			return printJSON(r.Out, apps.LogLine{Pod: r.pod.Name, Container: runContainer, Stream: strings.ToLower(stream), Line: text})
		}
		_, err := fmt.Fprintln(out, text)
		return err
	})
}
