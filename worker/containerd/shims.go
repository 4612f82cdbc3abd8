package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shim is a process that keeps containers of a daemon, of one sandbox as a rule.
type shim struct {
	pid int
	id  string // the first container's
}

// shims lists those of the daemon at a socket.
func shims(socket string) ([]shim, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []shim
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if id, ok := shimOf(arguments(pid), socket); ok {
			out = append(out, shim{pid, id})
		}
	}
	return out, nil
}

// arguments are a process's; none where it has ended.
func arguments(pid int) []string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(raw, []byte{0})), "\x00")
}

// shimOf is the container that a process is the shim of; false for what is no shim of this daemon's, and for the short
// calls of a shim's program, which end by themselves.
func shimOf(args []string, socket string) (id string, ok bool) {
	if len(args) == 0 || !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim-") {
		return "", false
	}
	flags := map[string]string{}
	rest := args[1:]
	for len(rest) >= 2 && strings.HasPrefix(rest[0], "-") {
		flags[strings.TrimLeft(rest[0], "-")] = rest[1]
		rest = rest[2:]
	}
	if len(rest) > 0 { // start, delete, or a flag of no value
		return "", false
	}
	id = flags["id"]
	return id, flags["namespace"] == namespace && flags["address"] == socket && isID(id)
}

// isID tells whether a name is one that containerd may have given: nothing that leads out of a directory.
func isID(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\x00")
}

// end ends it by SIGKILL, and waits for that. What has its number meanwhile is left alone.
func (s shim) end(socket string) error {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold shim %d: %w", s.pid, err)
	}
	defer unix.Close(fd)
	if id, ok := shimOf(arguments(s.pid), socket); !ok || id != s.id {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end shim %d: %w", s.pid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if !gone(fd, ctx) {
		return fmt.Errorf("end shim %d: it goes on after SIGKILL", s.pid)
	}
	return nil
}

// mountsBelow lists what is mounted at a directory or below it, the innermost first.
func mountsBelow(dir string) ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	const mountField = 4
	var out []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) <= mountField {
			continue
		}
		at := unescape.Replace(fields[mountField])
		if at == dir || strings.HasPrefix(at, dir+"/") {
			out = append(out, at)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// unescape undoes how the kernel writes blanks in paths.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
