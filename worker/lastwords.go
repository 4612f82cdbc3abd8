package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/logs"
	"github.com/petrelrun/petrel/worker/pod"
)

// Bounds of what a container says at its end: in its termination message, or as the end of its log in place of one.
const (
	maxLastWords    = 4096
	maxLastLog      = 2048
	maxLastLogLines = 80
	// lastWordsMode lets whoever a container runs as write to the file.
	lastWordsMode = 0o666
)

// lastWords is the file that is mounted at a container's terminationMessagePath.
func (p paths) lastWords(uid types.UID, container string, attempt int32) string {
	return filepath.Join(p.pod(uid), "lastwords", container+"."+strconv.Itoa(int(attempt)))
}

// addLastWords mounts the file for the container's termination message.
func (a *actor) addLastWords(c *corev1.Container, config *runtimev1.ContainerConfig) error {
	if c.TerminationMessagePath == "" || mountedAt(config, c.TerminationMessagePath) {
		return nil
	}
	path := a.m.paths.lastWords(a.uid, c.Name, int32(config.GetMetadata().GetAttempt()))
	err := a.m.onDisk(func() error {
		if err := makeDir(filepath.Dir(path), passDir); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, lastWordsMode)
		if err != nil {
			return err
		}
		return errors.Join(f.Chmod(lastWordsMode), f.Close()) // past the umask
	})
	if err != nil {
		return fmt.Errorf("make file for termination message: %w", err)
	}
	config.Mounts = append(config.Mounts, &runtimev1.Mount{ContainerPath: c.TerminationMessagePath, HostPath: path})
	return nil
}

// explain adds to an instance that has ended what its container said last.
func (a *actor) explain(inst *pod.Instance) {
	c := container(a.view.Pod, inst.Name)
	if inst.State != pod.Exited || c == nil {
		return
	}
	said := ""
	if !a.wasm(c.Name) && c.TerminationMessagePath != "" {
		said = readLastWords(a.m.paths.lastWords(a.uid, c.Name, inst.Attempt))
	}
	if said == "" && inst.ExitCode != 0 && c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		said = lastLog(filepath.Join(a.m.paths.logs(a.view.Pod), logName(c.Name, inst.Attempt)))
	}
	switch {
	case said == "":
	case inst.Message == "":
		inst.Message = said
	default:
		inst.Message += ": " + said
	}
}

// readLastWords is what the container wrote; nothing when it wrote nothing, or more than can be told in one piece.
func readLastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "" // of a container that never got one
	}
	defer f.Close()
	said, _ := io.ReadAll(io.LimitReader(f, maxLastWords))
	return strings.ToValidUTF8(string(said), "")
}

// lastLog is the end of a log.
func lastLog(path string) string {
	var all bytes.Buffer
	lines := int64(maxLastLogLines)
	never := func() bool { return false }
	if err := logs.Copy(context.Background(), &all, func() {}, path, logs.Options{Tail: &lines}, never); err != nil {
		return ""
	}
	said := all.Bytes()
	return strings.ToValidUTF8(string(said[max(0, len(said)-maxLastLog):]), "")
}

// forgetLastWords removes the file of an instance that is gone.
func (a *actor) forgetLastWords(container string, attempt int32) {
	err := os.Remove(a.m.paths.lastWords(a.uid, container, attempt))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.m.log.Warn("termination message was not removed", "pod", a.name(), "error", err)
	}
}
