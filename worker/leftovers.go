package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/volume"
)

// goneSuffix ends the names of what is about to be removed.
const goneSuffix = ".gone"

// sweep removes what lies on disk of pods that are no more: a worker that was killed may not have come to it, and a
// record that a power cut has spoilt names nobody. It is called when all pods of the node are known.
func (m *manager) sweep() {
	gone, err := m.setAside()
	for _, path := range gone {
		m.log.Info("removing files of a pod that is no more", "path", path)
		err = errors.Join(err, m.onDisk(func() error {
			if filepath.Dir(path) == m.paths.memoryPods() {
				return m.memory.Release(filepath.Base(path))
			}
			return volume.Remove(path)
		}))
	}
	if err != nil {
		m.log.Warn("files of pods that are no more were not all removed", "error", err)
	}
}

// setAside renames what belongs to no pod. It holds up new pods meanwhile, so that none comes to have a name that is
// being taken away.
func (m *manager) setAside() (gone []string, failed error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for dir, uidOf := range map[string]func(string) types.UID{m.paths.pods(): uidOfRecord, m.paths.memoryPods(): uidOfRecord, m.paths.allLogs(): uidOfLogs} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("list files of pods: %w", err))
		}
		for _, e := range entries {
			uid := uidOf(e.Name())
			if uid == "" || m.actors[uid] != nil || m.unclaimed[uid] {
				continue
			}
			path := filepath.Join(dir, e.Name())
			if !strings.HasSuffix(path, goneSuffix) {
				if err := os.Rename(path, path+goneSuffix); err != nil {
					failed = errors.Join(failed, fmt.Errorf("set files of a pod aside: %w", err))
					continue
				}
				path += goneSuffix
			}
			gone = append(gone, path)
		}
	}
	return gone, failed
}

// uidOfRecord is the pod whose record or directory has the name: "uid", "uid.json".
func uidOfRecord(name string) types.UID {
	uid, _, _ := strings.Cut(name, ".")
	return types.UID(uid)
}

// uidOfLogs is the pod whose directory of logs has the name: "namespace_name_uid". Names of pods may have dots, but no
// underscores.
func uidOfLogs(name string) types.UID {
	parts := strings.Split(strings.TrimSuffix(name, goneSuffix), "_")
	if len(parts) != 3 {
		return ""
	}
	return types.UID(parts[2])
}
