package procmem

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// rests are how long after a process began it is made smaller: once it has started, and once what it took over at its start
// has settled.
var rests = []time.Duration{10 * time.Second, 60 * time.Second}

// Begin has AfterStart done beside what the process does. The answer ends it and waits for that.
func Begin(ctx context.Context, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		AfterStart(ctx, log)
	}()
	return func() {
		cancel()
		<-done
	}
}

// AfterStart waits until the process has started and lets go of what only that needed; it returns when that is done or
// ctx ends.
func AfterStart(ctx context.Context, log *slog.Logger) {
	began := time.Now()
	for _, rest := range rests {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(rest))):
		}
		debug.FreeOSMemory()
		if err := dropProgram(); err != nil { // the process is as well as before, only larger
			log.Debug("pages of the program were not given back", "error", err)
			return
		}
	}
}

// dropProgram lets go of the pages of the program's file that are mapped read-only.
func dropProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read mappings: %w", err)
	}
	for _, m := range programMappings(maps, exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("drop pages of %s: %w", exe, errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// programMappings are those of the program's file that cannot be written: a page of one is the file's, always.
func programMappings(maps []byte, exe string) (out []mapping) {
	for line := range bytes.Lines(maps) {
		// start-end perms offset device inode path
		fields := bytes.Fields(line)
		if len(fields) < 6 || !bytes.HasSuffix(bytes.TrimRight(line, "\n"), []byte(" "+exe)) {
			continue
		}
		if perms := string(fields[1]); perms != "r--p" && perms != "r-xp" {
			continue
		}
		from, to, _ := bytes.Cut(fields[0], []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, 64)
		end, err2 := strconv.ParseUint(string(to), 16, 64)
		if err1 == nil && err2 == nil && start < end {
			out = append(out, mapping{uintptr(start), uintptr(end)})
		}
	}
	return out
}
