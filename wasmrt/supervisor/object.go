package supervisor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/netns"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// sandbox is a pod's sandbox: an address, and the runner that its containers are in.
type sandbox struct {
	op     sync.Mutex // held by stop and remove
	config packed
	apart  bool // it lives in another network namespace than the supervisor

	// guarded by Supervisor.mu
	record     state.Sandbox
	runner     *fleet.Runner // nil when it died before we came
	space      *netns.Space  // of a sandbox that lives in another namespace, while it is there
	containers map[string]*container
}

// container is a guest in a sandbox.
type container struct {
	op      sync.Mutex // held by start, update and remove
	sandbox *sandbox
	config  packed        // without the environment, which is the runner's alone
	exited  chan struct{} // closed when its exit is known

	isSteered atomic.Bool      // it may have addresses that are steered to its runner
	steered   []netip.AddrPort // they; guarded by steerage.mu

	saving  sync.Mutex // held while its record is written
	removed bool       // its record is gone; guarded by saving

	record state.Container // guarded by Supervisor.mu
}

func newID() string {
	b := make([]byte, state.IDLength/2)
	_, _ = rand.Read(b) // does not fail: the program would have ended
	return hex.EncodeToString(b)
}

// lookup finds the one whose id is, or begins with, id.
func lookup[T any](all map[string]T, kind, id string) (T, error) {
	var found T
	if v, ok := all[id]; ok {
		return v, nil
	}
	n := 0
	if id != "" && len(id) < state.IDLength {
		for k, v := range all {
			if strings.HasPrefix(k, id) {
				found = v
				n++
			}
		}
	}
	switch n {
	case 1:
		return found, nil
	case 0:
		return found, status.Errorf(codes.NotFound, "%s %q not found", kind, id)
	}
	var none T
	return none, status.Errorf(codes.NotFound, "%s %q is ambiguous: %d ids begin so", kind, id, n)
}

func (s *Supervisor) findSandbox(id string) (*sandbox, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return lookup(s.sandboxes, "sandbox", id)
}

func (s *Supervisor) findContainer(id string) (*container, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return lookup(s.containers, "container", id)
}

// Names that must be unique, in one space.
func sandboxName(m *runtimev1.PodSandboxMetadata) string {
	return fmt.Sprintf("sandbox %s/%s uid %q attempt %d", m.GetNamespace(), m.GetName(), m.GetUid(), m.GetAttempt())
}

func containerName(sandboxID string, m *runtimev1.ContainerMetadata) string {
	return fmt.Sprintf("container %s attempt %d of sandbox %s", m.GetName(), m.GetAttempt(), sandboxID)
}

// reserve takes a name for an id. The mutex is held.
func (s *Supervisor) reserve(name, id string) error {
	if holder, ok := s.names[name]; ok {
		return status.Errorf(codes.AlreadyExists, "%s exists: it has the id %s", name, holder)
	}
	s.names[name] = id
	return nil
}

// snapshot is a consistent copy of a container's record.
func (s *Supervisor) snapshot(c *container) state.Container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return c.record
}

// saveContainer writes the container's first record; c.saving is held. A record that cannot be written (a full disk) must
// not keep a container from ending: it is said.
func (s *Supervisor) saveContainer(c *container, record state.Container) {
	raw, err := protojson.Marshal(c.config.containerConfig())
	if err == nil {
		record.Config = raw // not kept in memory, where the config itself is
		err = s.store.CreateContainer(&record)
	}
	s.notSaved(record.ID, err)
}

// updateContainer writes down what has become of the container; c.saving is held. One whose first record could not be
// written gets it now.
func (s *Supervisor) updateContainer(c *container, record state.Container) {
	err := s.store.UpdateContainer(&record)
	if errors.Is(err, fs.ErrNotExist) {
		s.saveContainer(c, record)
		return
	}
	s.notSaved(record.ID, err)
}

func (s *Supervisor) notSaved(id string, err error) {
	if err != nil {
		s.cfg.Logger.Error("container's record not saved", "container", id, "error", err)
	}
}

// saveSandbox writes the sandbox's first record.
func (s *Supervisor) saveSandbox(b *sandbox, record state.Sandbox) error {
	raw, err := protojson.Marshal(b.config.sandboxConfig())
	if err != nil {
		return fmt.Errorf("encode config: %w", err)
	}
	record.Config = raw
	return s.store.CreateSandbox(&record)
}

// told waits until what is known of the container has been told as an event, too: whoever saw in its status that it has
// exited must not hear first that its pod was stopped.
func (c *container) told() {
	c.saving.Lock()
	defer c.saving.Unlock()
}

// apply takes over what is known of a container, if it is news: writes it down and tells it. It says whether it was.
func (s *Supervisor) apply(c *container, news control.Status) bool {
	c.saving.Lock()
	defer c.saving.Unlock()
	s.mu.Lock()
	old := c.record.Status
	stale := news.State.Rank() < old.State.Rank() || news.State == old.State && news.Revision < old.Revision
	if c.removed || stale || (news.State == control.StateExited && old.State == news.State) {
		s.mu.Unlock()
		return false
	}
	// What compiling cost was settled when it was created, by what the pull had to do, too.
	news.CompileMicros, news.CompileCached = old.CompileMicros, old.CompileCached
	news.ID, news.SandboxID = c.record.ID, c.record.SandboxID
	share(&news)
	s.compiled.settle(&news, c.record.Module)
	c.record.Status = news
	record := c.record
	s.mu.Unlock()
	if news == old {
		return false
	}
	s.updateContainer(c, record)
	if news.State == old.State {
		if news.Guest != old.Guest && news.State == control.StateRunning {
			// The CRI has no event for this: whoever gets a second start of one container is to look at its status again.
			s.announce(c.sandbox, record.ID, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
		}
		return true
	}
	switch news.State {
	case control.StateRunning:
		s.announce(c.sandbox, record.ID, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
	case control.StateExited:
		if old.State == control.StateCreated && news.StartedAt != 0 { // its start was overtaken
			s.announce(c.sandbox, record.ID, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
		}
		close(c.exited)
		s.steering.leaveSoon(c)
		s.announce(c.sandbox, record.ID, runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
	return true
}
