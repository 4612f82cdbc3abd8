package output

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Drain takes what comes to the logs that an earlier daemon left in dir, a relay's or that of all, so that nobody waits for
// a reader. The answer ends it, and removes dir.
func Drain(dir string) (end func() error, err error) {
	logs := []string{filepath.Join(dir, LogName)}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("find logs: %w", err)
	}
	for _, e := range entries {
		logs = append(logs, filepath.Join(dir, e.Name(), LogName))
	}
	var open []*os.File
	done := make(chan struct{}, len(logs))
	for _, path := range logs {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // it is gone, or no pipe: nobody waits for it
		}
		open = append(open, f)
		go func() {
			_, _ = io.Copy(io.Discard, f)
			done <- struct{}{}
		}()
	}
	return func() error {
		for _, f := range open {
			_ = f.Close()
		}
		for range open {
			<-done
		}
		return os.RemoveAll(dir)
	}, nil
}
