package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

const (
	logDirPerm  = 0o755 // as kubelets make them
	logFilePerm = 0o640
)

// makeLog makes a container's log file the runner's to write, when that has a user id of its own and could not make it.
func makeLog(path string, r *fleet.Runner) error {
	if path == "" || r == nil || r.User() == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), logDirPerm); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logFilePerm)
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer f.Close()
	if err := f.Chown(int(r.User()), -1); err != nil { // the group stays that of whoever reads logs
		return fmt.Errorf("make log: %w", err)
	}
	return nil
}
