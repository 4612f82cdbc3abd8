package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tiedName has the test's program be one that starts another, tied to itself, and tells its number.
const tiedName = "containerd-tied-test"

func beTied() error {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := make(chan struct{})
	if err := startIn("", cmd, ended); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// TestTied: a command that is tied outlives the call that started it, and not the process.
func TestTied(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Args = []string{tiedName}
	input, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := output.Read(line)
	pid, numberErr := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil || numberErr != nil {
		t.Fatalf("it says %q: %v, %v", line[:n], err, numberErr)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	over := func(within time.Duration) bool {
		n, err := 0, error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(within/time.Millisecond))
		}
		return n > 0 && err == nil
	}
	if over(200 * time.Millisecond) {
		t.Error("it has ended with the call that started it")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if !over(time.Minute) {
		t.Errorf("process %d goes on without its parent", pid)
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
