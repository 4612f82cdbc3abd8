package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// downLimit bounds how long a running lab takes to end in order.
	downLimit = 60 * time.Second
	downPoll  = 50 * time.Millisecond
)

// Down ends the lab in a directory, whoever runs it, and removes what is left of one that was killed. It answers false
// where there was none.
func Down(ctx context.Context, dir string) (bool, error) {
	s, err := Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.interrupt(); err != nil {
		return true, err
	}
	held, err := await(ctx, dir)
	if err != nil {
		return true, err
	}
	return true, errors.Join(sweep(dir), held.Close())
}

// interrupt asks the lab's process to end, if it is the one that wrote the state.
func (s *State) interrupt() error {
	if s.PID == os.Getpid() {
		return errors.New("end lab: it is this process's own: close it")
	}
	fd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	defer unix.Close(fd)
	if !s.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end lab: signal process %d: %w", s.PID, err)
	}
	return nil
}

// await takes the lock that a running lab has until its end.
func await(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	for {
		held, err := lock(dir)
		if !errors.Is(err, ErrInUse) {
			return held, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("end lab: %w", err)
		case <-time.After(downPoll):
		}
	}
}
