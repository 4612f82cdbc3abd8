package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/volume"
)

// keep writes the pod down, so that a worker that starts without the API knows it.
func (p paths) keep(object *corev1.Pod) error {
	slim := *object
	slim.ManagedFields = nil
	return writeJSON(p.spec(object.UID), &slim)
}

// kept reads every pod that was written down. One that cannot be read is reported and left out.
func (p paths) kept() ([]*corev1.Pod, error) {
	entries, err := os.ReadDir(p.pods())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list kept pods: %w", err)
	}
	var out []*corev1.Pod
	var bad error
	for _, entry := range entries {
		uid, ok := strings.CutSuffix(entry.Name(), specSuffix)
		if !ok {
			continue
		}
		content, err := os.ReadFile(p.spec(types.UID(uid)))
		object := &corev1.Pod{}
		if err == nil {
			err = json.Unmarshal(content, object)
		}
		if err == nil && string(object.UID) != uid {
			err = errors.New("it names another pod")
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("read kept pod %s: %w", entry.Name(), err))
			continue
		}
		out = append(out, object)
	}
	return out, bad
}

// forget removes what was written of the pod, with its logs.
func (p paths) forget(object *corev1.Pod) error {
	err := os.Remove(p.spec(object.UID))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, volume.Remove(p.pod(object.UID)), os.RemoveAll(p.logs(object)))
}

// lost is the last attempt at the container that its logs or the API's status tell of, as an end that nobody saw: what
// a pod has run must count even if the runtime has forgotten it.
func (p paths) lost(object *corev1.Pod, name string) *pod.Instance {
	last := int32(-1)
	entries, _ := os.ReadDir(filepath.Join(p.logs(object), name))
	for _, entry := range entries {
		number, ok := strings.CutSuffix(entry.Name(), ".log")
		if n, err := strconv.ParseInt(number, 10, 32); ok && err == nil {
			last = max(last, int32(n))
		}
	}
	id := "lost"
	for _, all := range [][]corev1.ContainerStatus{object.Status.ContainerStatuses, object.Status.InitContainerStatuses, object.Status.EphemeralContainerStatuses} {
		for i := range all {
			if s := &all[i]; s.Name == name && s.ContainerID != "" && s.RestartCount >= last {
				last = s.RestartCount
				id = s.ContainerID
			}
		}
	}
	if last < 0 {
		return nil
	}
	return &pod.Instance{
		ID: id, Name: name, Attempt: last, State: pod.Exited, ExitCode: 137, Reason: pod.ReasonUnknown,
		Message: "the runtime no longer knows the container",
	}
}
