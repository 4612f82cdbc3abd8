package worker

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/volume"
)

// RunnerDirs are the directories below a worker's root in which the runtime's processes find what pods mount and write
// their logs.
func RunnerDirs(root string) []string {
	return []string{paths(root).pods(), paths(root).allLogs(), paths(root).localVolumes(), paths(root).memory()}
}

// RemoveMemory takes away what the worker of this root keeps in memory for pods. It comes when they have all ended.
func RemoveMemory(root string) error { return volume.Remove(paths(root).memory()) }

// specSuffix ends the names of written-down pods. They stand beside the directories of their pods: most pods have
// nothing else to keep, and a directory costs more to make than a file.
const specSuffix = ".json"

// paths is where things are under the root directory.
type paths string

// Runners have users of their own: directories on the way to volumes and logs can be passed through, but not listed.
// What the pod refers to, secrets among it, is the worker's alone.
const (
	passDir    = 0o711
	privateDir = 0o700
)

func (p paths) pods() string                   { return filepath.Join(string(p), "pods") }
func (p paths) pod(uid types.UID) string       { return filepath.Join(p.pods(), string(uid)) }
func (p paths) spec(uid types.UID) string      { return p.pod(uid) + specSuffix }
func (p paths) volumes(uid types.UID) string   { return volumesIn(p.pod(uid)) }
func (p paths) refs(uid types.UID) string      { return refsIn(p.pod(uid)) }
func (p paths) memory() string                 { return filepath.Join(string(p), "memory") }
func (p paths) memoryPods() string             { return filepath.Join(p.memory(), "pods") }
func (p paths) memoryPod(uid types.UID) string { return filepath.Join(p.memoryPods(), string(uid)) }

// volumesIn and refsIn are what is in a pod's directory, on disk or in memory.
func volumesIn(dir string) string { return filepath.Join(dir, "volumes") }
func refsIn(dir string) string    { return filepath.Join(dir, "refs") }

func (p paths) resize(uid types.UID) string { return filepath.Join(p.pod(uid), "resize.json") }
func (p paths) kinds(uid types.UID) string  { return filepath.Join(p.pod(uid), "kinds.json") }
func (p paths) runtimeClass(name string) string {
	return filepath.Join(string(p), "runtimeclasses", name+".json")
}
func (p paths) pulled() string       { return filepath.Join(string(p), "pulled.json") }
func (p paths) localVolumes() string { return filepath.Join(string(p), "local-path") }
func (p paths) plugins() string      { return filepath.Join(string(p), "plugins_registry") }
func (p paths) staged() string       { return filepath.Join(string(p), "plugins", "kubernetes.io", "csi") }
func (p paths) services() string     { return filepath.Join(string(p), "services.json") }
func (p paths) dns() string          { return filepath.Join(string(p), "dns.json") }
func (p paths) policies() string     { return filepath.Join(string(p), "policies.json") }
func (p paths) allLogs() string      { return filepath.Join(string(p), "logs", "pods") }
func (p paths) logs(pod *corev1.Pod) string {
	return filepath.Join(p.allLogs(), pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// makeDir is os.MkdirAll for a directory whose parent is there but the first time.
func makeDir(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	switch {
	case err == nil, errors.Is(err, os.ErrExist):
		return nil
	case errors.Is(err, os.ErrNotExist):
		return os.MkdirAll(path, mode)
	}
	return err
}

// logName is a container's log below the pod's log directory.
func logName(container string, attempt int32) string {
	return filepath.Join(container, strconv.Itoa(int(attempt))+".log")
}
