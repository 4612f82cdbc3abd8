package critest

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var logTests = map[string]func(*suite){
	"Format":        testLogs,
	"LongLines":     testLongLines,
	"NoLogPath":     testNoLogPath,
	"Reopen":        testReopenLog,
	"ReopenOfEnded": testReopenOfEnded,
}

// logLines reads a CRI log into "stream text", checking each line's form.
func (s *suite) logLines(p *pod, path string) []string {
	s.Helper()
	file, err := os.Open(filepath.Join(p.config.GetLogDirectory(), path))
	s.must(err)
	defer file.Close()
	var out []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		parts := strings.SplitN(scanner.Text(), " ", 4)
		if len(parts) != 4 {
			s.Fatalf("log line %q: want time, stream, tag and text", scanner.Text())
		}
		if _, err := time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			s.Errorf("log line %q: %v", scanner.Text(), err)
		}
		if parts[2] != "F" && parts[2] != "P" {
			s.Errorf("log line %q: tag %q", scanner.Text(), parts[2])
		}
		out = append(out, parts[1]+" "+parts[3])
	}
	return out
}

func testLogs(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "print", "one", "complain", "two", "print", "thrée", "exit", "0")
	s.exited(id)
	lines := s.logLines(p, "main/0.log")
	for _, want := range []string{"stdout one", "stderr two", "stdout thrée"} {
		if !slices.Contains(lines, want) {
			s.Errorf("log %q lacks %q", lines, want)
		}
	}
	s.must(s.Client.RemoveContainer(s.ctx, id))
	if got := s.logLines(p, "main/0.log"); len(got) != len(lines) {
		s.Errorf("log has %d lines after the container's removal, want %d: the worker owns logs", len(got), len(lines))
	}
}

// testLongLines: what is longer than a record comes in parts, of which all but the last are marked.
func testLongLines(s *suite) {
	p := s.sandbox()
	long := strings.Repeat("0123456789", 5000)
	s.exited(s.start(p, s.TaskImage, "main", 0, "print", long, "print", "short"))
	var whole strings.Builder
	raw, err := os.ReadFile(filepath.Join(p.config.GetLogDirectory(), "main/0.log"))
	s.must(err)
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			s.Fatalf("record of %d bytes: want time, stream, tag and text", len(line))
		}
		whole.WriteString(parts[3])
		if parts[2] == "F" {
			whole.WriteString("\n")
		}
	}
	if whole.String() != long+"\nshort\n" {
		s.Errorf("put together again it has %d bytes, want %d", whole.Len(), len(long)+7)
	}
}

// testNoLogPath: without a path nothing is written, and the container runs.
func testNoLogPath(s *suite) {
	p := s.sandbox()
	s.present(s.TaskImage)
	config := s.containerConfig(p, s.TaskImage, "main", 0, "print", "x", "exit", "4")
	config.LogPath = ""
	id, err := s.Client.CreateContainer(s.ctx, p.id, config, p.config)
	s.must(err)
	s.must(s.Client.StartContainer(s.ctx, id))
	if code := s.exited(id).GetExitCode(); code != 4 {
		s.Errorf("exit code %d", code)
	}
	if entries, err := os.ReadDir(p.config.GetLogDirectory()); err == nil && len(entries) != 0 {
		s.Errorf("the log directory has %v", entries)
	}
}

// testReopenLog: after a rotation the file of the old name is written again, and the moved one no more.
func testReopenLog(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, append(slices.Repeat([]string{"print", "a line", "sleep", "500"}, 100), "sleep", "600000")...)
	path := filepath.Join(p.config.GetLogDirectory(), "main/0.log")
	s.eventually("the first line", func() bool { return size(path) > 0 })
	s.must(os.Rename(path, path+".1"))
	_, err := s.rt.ReopenContainerLog(s.ctx, &runtimev1.ReopenContainerLogRequest{ContainerId: id})
	s.must(err)
	moved := size(path + ".1")
	s.eventually("a line in the new file", func() bool { return size(path) > 0 })
	if now := size(path + ".1"); now != moved {
		s.Errorf("the moved file grew from %d to %d bytes", moved, now)
	}
}

// size is 0 where there is no file.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func testReopenOfEnded(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "exit", "0")
	s.exited(id)
	for name, id := range map[string]string{"an ended": id, "an unknown": "no-such-container"} {
		if _, err := s.rt.ReopenContainerLog(s.ctx, &runtimev1.ReopenContainerLogRequest{ContainerId: id}); err == nil {
			s.Errorf("reopening the log of %s container: no error", name)
		}
	}
}
