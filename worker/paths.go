package worker

import (
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// paths is where things are under the root directory.
type paths string

// Directories of the worker are its own user's: they hold secrets.
const privateDir = 0o700

func (p paths) pods() string                 { return filepath.Join(string(p), "pods") }
func (p paths) pod(uid types.UID) string     { return filepath.Join(p.pods(), string(uid)) }
func (p paths) spec(uid types.UID) string    { return filepath.Join(p.pod(uid), "pod.json") }
func (p paths) volumes(uid types.UID) string { return filepath.Join(p.pod(uid), "volumes") }
func (p paths) refs(uid types.UID) string    { return filepath.Join(p.pod(uid), "refs") }
func (p paths) services() string             { return filepath.Join(string(p), "services.json") }
func (p paths) logs(pod *corev1.Pod) string {
	return filepath.Join(string(p), "logs", "pods", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// logName is a container's log below the pod's log directory.
func logName(container string, attempt int32) string {
	return filepath.Join(container, strconv.Itoa(int(attempt))+".log")
}
