package wasi

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

const (
	// DefaultMaxFiles bounds the descriptors that one instance opens, when its Config does not.
	DefaultMaxFiles = 256
	// MaxMaxFiles bounds what a Config may ask for: each descriptor may cost one of the host.
	MaxMaxFiles = 4096
	// MaxListeners bounds the preopened sockets.
	MaxListeners = 16
	// MaxArgumentBytes bounds arguments and environment together, as the kernel's own limit does for processes.
	MaxArgumentBytes = 1 << 20

	// maxPath bounds a path's bytes, as the kernel does.
	maxPath = 4096
	// maxBuffers bounds the buffers of one read or write, as the kernel does. What goes beyond is left for the next call.
	maxBuffers = 1024
)

// Config says what a System shows to its guest.
type Config struct {
	Args []string // the program's name first
	Env  []string // KEY=value; of two with one key the later counts

	Mounts []Mount
	// Listeners are sockets that the guest may accept from. Their descriptors come after those of the mounts. They are
	// duplicated: who gave them closes them as he likes.
	Listeners []net.Listener
	// MaxFiles bounds what the guest has open beside what it was given; zero means DefaultMaxFiles.
	MaxFiles int
}

// Validate checks what can be told without looking at the host's files.
func (c Config) Validate() error {
	total := 0
	for _, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			return errors.New("check arguments: one has a zero byte")
		}
		total += len(a) + 1
	}
	for _, e := range c.Env {
		key, _, ok := strings.Cut(e, "=")
		if !ok || key == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("check environment: %q is not KEY=value", e)
		}
		total += len(e) + 1
	}
	switch {
	case total > MaxArgumentBytes:
		return fmt.Errorf("check arguments: they and the environment have %d bytes, the limit is %d", total, MaxArgumentBytes)
	case c.MaxFiles < 0 || c.MaxFiles > MaxMaxFiles:
		return fmt.Errorf("check files: %d is not between 0 and %d", c.MaxFiles, MaxMaxFiles)
	case len(c.Listeners) > MaxListeners:
		return fmt.Errorf("check listeners: %d of them, the limit is %d", len(c.Listeners), MaxListeners)
	}
	for _, l := range c.Listeners {
		if _, ok := l.(syscall.Conn); !ok {
			return fmt.Errorf("check listeners: a %T has no descriptor to hand on", l)
		}
	}
	return ValidateAll(c.Mounts)
}

// environ is the environment without what later entries replace.
func (c Config) environ() []string {
	var out []string
	place := map[string]int{}
	for _, e := range c.Env {
		key, _, _ := strings.Cut(e, "=")
		if i, ok := place[key]; ok {
			out[i] = e
			continue
		}
		place[key] = len(out)
		out = append(out, e)
	}
	return out
}
