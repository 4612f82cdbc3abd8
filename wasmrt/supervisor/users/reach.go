package users

import (
	"fmt"
	"os"
	"path/filepath"
)

const othersEnter = 0o001

// Reachable says whether any user can come to the directory: everybody must be able to enter it and all above it. The
// error names the first that is closed.
func Reachable(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	for at := filepath.Clean(real); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("check %s: %w", dir, err)
		}
		if info.Mode().Perm()&othersEnter == 0 {
			return &ClosedError{Dir: at, Mode: info.Mode().Perm(), For: dir}
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// ClosedError names a directory that keeps other users out.
type ClosedError struct {
	Dir  string
	Mode os.FileMode
	For  string // what lies behind it
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("other users cannot enter %s (mode %04o), so not reach %s: chmod o+x %s, or use another place", e.Dir, uint32(e.Mode), e.For, e.Dir)
}
