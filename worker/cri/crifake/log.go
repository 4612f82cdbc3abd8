package crifake

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logFile writes CRI log lines; one is shared by a container's two streams.
type logFile struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(path string) (*logFile, error) {
	if path == "" {
		return &logFile{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	return &logFile{file: file}, err
}

// reopen goes on in a new file at the path.
func (l *logFile) reopen(path string) error {
	if l == nil {
		return errors.New("the container has not started")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return errors.New("the container does not write a log")
	}
	next, err := openLog(path)
	if err != nil {
		return err
	}
	_ = l.file.Close()
	l.file = next.file
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

func (l *logFile) stream(name runtimev1.LogStreamType) *logStream {
	return &logStream{log: l, name: name}
}

type logStream struct {
	log  *logFile
	name runtimev1.LogStreamType
}

// Write turns each line into a full record and an unfinished one into a partial record.
func (s *logStream) Write(p []byte) (int, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.file == nil {
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		line, after, full := bytes.Cut(rest, []byte{'\n'})
		tag := runtimev1.LogTagFull
		if !full {
			tag = runtimev1.LogTagPartial
		}
		if _, err := fmt.Fprintf(s.log.file, "%s %s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), s.name, tag, line); err != nil {
			return 0, err
		}
		rest = after
	}
	return len(p), nil
}
