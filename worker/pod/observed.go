package pod

import (
	"cmp"
	"slices"
	"time"
)

// State is where an instance of a container is in its life.
type State int

// The states go one way.
const (
	Created State = iota
	Running
	Exited
	Unknown
)

// Sandbox is one sandbox that the runtime holds for a pod.
type Sandbox struct {
	ID      string
	Attempt uint32
	Ready   bool
	// Stopped says that the runtime was told to stop it. One that is not ready may have died by itself, and keep its
	// addresses, its network namespace and its mounts until then.
	Stopped bool
	IP      string   // the first of IPs
	IPs     []string // one of each family at most
}

// Instance is one container that the runtime holds: one attempt at running a container of the spec.
type Instance struct {
	ID        string
	SandboxID string
	Name      string
	Attempt   int32
	State     State
	Started   time.Time
	Finished  time.Time
	ExitCode  int32
	Reason    string
	Message   string
	Image     string
	ImageRef  string
	// Hash is SpecHash of the container that it was made from.
	Hash string
}

// Observed is what the runtime holds for one pod.
type Observed struct {
	Sandboxes  []Sandbox             // newest first
	Containers map[string][]Instance // by container name, newest first
}

// standing is the newest of the sandboxes of which something may stand; nil when there is none.
func standing(all []Sandbox) *Sandbox {
	for i := range all {
		if !all[i].Stopped {
			return &all[i]
		}
	}
	return nil
}

// Sort puts the newest first.
func (o *Observed) Sort() {
	slices.SortFunc(o.Sandboxes, func(a, b Sandbox) int { return cmp.Compare(b.Attempt, a.Attempt) })
	for _, instances := range o.Containers {
		slices.SortFunc(instances, func(a, b Instance) int { return cmp.Compare(b.Attempt, a.Attempt) })
	}
}

// Sandbox is the newest sandbox when it is ready, else nil.
func (o *Observed) Sandbox() *Sandbox {
	if len(o.Sandboxes) == 0 || !o.Sandboxes[0].Ready {
		return nil
	}
	return &o.Sandboxes[0]
}

// Newest is the last attempt at the container, nil when there was none.
func (o *Observed) Newest(name string) *Instance {
	if instances := o.Containers[name]; len(instances) > 0 {
		return &instances[0]
	}
	return nil
}

// Previous is the attempt before the newest, nil when the runtime holds none.
func (o *Observed) Previous(name string) *Instance {
	if instances := o.Containers[name]; len(instances) > 1 {
		return &instances[1]
	}
	return nil
}

// Running lists every instance that runs.
func (o *Observed) Running() []Instance {
	var out []Instance
	for _, instances := range o.Containers {
		for _, i := range instances {
			if i.State == Running || i.State == Unknown {
				out = append(out, i)
			}
		}
	}
	slices.SortFunc(out, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
