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

// dropProgram lets go of the pages of the program's file that nobody can have written.
func dropProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
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

// programMappings are those of the program's file whose pages are the file's, to be read from it again. That a mapping
// cannot be written is not enough: the dynamic linker of a program with cgo writes tables of addresses and closes them
// to writing afterwards. Such pages are anonymous, and dropping them would leave the file's zeros.
func programMappings(smaps []byte, exe string) (out []mapping) {
	var m mapping
	whole := false // m is the file's, and none of what is told of it says otherwise
	keep := func() {
		if whole {
			out = append(out, m)
		}
		whole = false
	}
	for line := range bytes.Lines(smaps) {
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if from, to, ok := bytes.Cut(fields[0], []byte("-")); ok {
			keep()
			m, whole = header(line, fields, from, to, exe)
			continue
		}
		// Field: number kB
		if name := string(fields[0]); (name == "Anonymous:" || name == "Swap:") && (len(fields) < 2 || string(fields[1]) != "0") {
			whole = false
		}
	}
	keep()
	return out
}

// header reads the line that begins a mapping: start-end perms offset device inode path.
func header(line []byte, fields [][]byte, from, to []byte, exe string) (m mapping, ours bool) {
	if len(fields) < 6 || !bytes.HasSuffix(bytes.TrimRight(line, "\n"), []byte(" "+exe)) {
		return m, false
	}
	if perms := string(fields[1]); perms != "r--p" && perms != "r-xp" {
		return m, false
	}
	start, err1 := strconv.ParseUint(string(from), 16, 64)
	end, err2 := strconv.ParseUint(string(to), 16, 64)
	return mapping{uintptr(start), uintptr(end)}, err1 == nil && err2 == nil && start < end
}
