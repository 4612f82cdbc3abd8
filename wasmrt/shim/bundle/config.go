package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// maxConfig bounds config.json: a container with a thousand mounts and variables takes some hundred KiB.
const maxConfig = 8 << 20

// Annotations that containerd's CRI writes into each configuration.
const (
	annotationType          = "io.kubernetes.cri.container-type"
	annotationSandboxID     = "io.kubernetes.cri.sandbox-id"
	annotationNamespace     = "io.kubernetes.cri.sandbox-namespace"
	annotationSandboxName   = "io.kubernetes.cri.sandbox-name"
	annotationContainerName = "io.kubernetes.cri.container-name"
	annotationImageName     = "io.kubernetes.cri.image-name"
)

// Kinds of containers.
type Kind int

const (
	// Alone is a container that containerd's own clients made, such as ctr: it is a pod of its own.
	Alone Kind = iota
	// Sandbox is a pod without its containers.
	Sandbox
	// Member is a container in a sandbox.
	Member
)

// Config is what a container is to be.
type Config struct {
	Kind Kind
	// SandboxID is containerd's id of the sandbox of a Member.
	SandboxID string
	// Namespace and Pod are Kubernetes' names, Name the container's in its pod; empty for what is Alone.
	Namespace, Pod, Name string
	Image                string
	Hostname             string
	Args, Env            []string
	Dir                  string
	Terminal             bool
	MemoryLimit          int64
	Mounts               []Mount
	// NetworkNamespace is the path of the one to live in; empty: the host's, or, with NewNetwork, one of its own.
	NetworkNamespace string
	NewNetwork       bool
	Annotations      map[string]string
}

// Mount is a directory or file of the host for the guest.
type Mount struct {
	Source, Destination string
	ReadOnly            bool
}

// spec is the part of an OCI runtime configuration that is read.
type spec struct {
	Process struct {
		Terminal bool     `json:"terminal"`
		Args     []string `json:"args"`
		Env      []string `json:"env"`
		Cwd      string   `json:"cwd"`
	} `json:"process"`
	Hostname    string            `json:"hostname"`
	Annotations map[string]string `json:"annotations"`
	Mounts      []struct {
		Destination string   `json:"destination"`
		Type        string   `json:"type"`
		Source      string   `json:"source"`
		Options     []string `json:"options"`
	} `json:"mounts"`
	Linux struct {
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
		Resources Resources `json:"resources"`
	} `json:"linux"`
}

// Resources are those of an OCI configuration that a guest has.
type Resources struct {
	Memory struct {
		Limit int64 `json:"limit"`
	} `json:"memory"`
}

// Read reads the configuration of the bundle in dir.
func Read(dir string) (*Config, error) {
	f, err := os.Open(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return Decode(raw)
}

// Decode reads a configuration.
func Decode(raw []byte) (*Config, error) {
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("decode bundle: its configuration has more than %d bytes", maxConfig)
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("decode bundle: %w", err)
	}
	a := s.Annotations
	c := &Config{
		SandboxID: a[annotationSandboxID], Namespace: a[annotationNamespace], Pod: a[annotationSandboxName],
		Name: a[annotationContainerName], Image: a[annotationImageName], Hostname: s.Hostname, Args: s.Process.Args, Env: s.Process.Env,
		Dir: s.Process.Cwd, Terminal: s.Process.Terminal, MemoryLimit: max(0, s.Linux.Resources.Memory.Limit), Annotations: maps.Clone(a),
	}
	if err := c.setKind(a[annotationType]); err != nil {
		return nil, err
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == "network" {
			c.NetworkNamespace, c.NewNetwork = n.Path, n.Path == ""
		}
	}
	for _, m := range s.Mounts {
		if m.Type == "bind" || hasBind(m.Options) {
			c.Mounts = append(c.Mounts, Mount{Source: m.Source, Destination: m.Destination, ReadOnly: readOnly(m.Options)})
		}
	}
	return c, nil
}

func (c *Config) setKind(kind string) error {
	switch kind {
	case "":
		c.Kind = Alone
	case "sandbox":
		c.Kind = Sandbox
	case "container":
		c.Kind = Member
	default:
		return fmt.Errorf("decode bundle: annotation %s is %q: want sandbox or container", annotationType, kind)
	}
	if c.Kind == Member && c.SandboxID == "" {
		return errors.New("decode bundle: the container names no sandbox")
	}
	if c.Kind != Sandbox && len(c.Args) == 0 {
		return errors.New("decode bundle: the container has no arguments: the first names its module")
	}
	return nil
}

func hasBind(options []string) bool {
	for _, o := range options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

// readOnly follows mount(8): of ro and rw the last one counts.
func readOnly(options []string) bool {
	ro := false
	for _, o := range options {
		switch o {
		case "ro":
			ro = true
		case "rw":
			ro = false
		}
	}
	return ro
}

// MountSource answers what is mounted at the destination, or nothing.
func (c *Config) MountSource(destination string) string {
	for _, m := range c.Mounts {
		if m.Destination == destination {
			return m.Source
		}
	}
	return ""
}

// plumbing are the places below which a container runtime mounts what makes a process feel at home.
var plumbing = []string{"/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/secrets/rhsm"}

// GuestMounts are the mounts without those that only a process has a use for: names are resolved for a guest, not by it.
func (c *Config) GuestMounts() []Mount {
	var out []Mount
	for _, m := range c.Mounts {
		plumbed := false
		for _, p := range plumbing {
			plumbed = plumbed || m.Destination == p || strings.HasPrefix(m.Destination, p+"/")
		}
		if !plumbed {
			out = append(out, m)
		}
	}
	return out
}
