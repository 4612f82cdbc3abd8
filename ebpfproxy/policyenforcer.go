package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// EnforcerConfig of an Enforcer.
type EnforcerConfig struct {
	// Proxy is open, and stays open longer than the Enforcer. Its control group is where policies hold, and its pins
	// are where they outlive the process. It should have been opened first, so that a connect() to a service has its
	// backend before it is judged.
	Proxy *Proxy
	Sizes PolicySizes
}

// PolicySizes are the capacities of the tables, in entries. Zero fields get the defaults.
type PolicySizes struct {
	Peers     int // prefixes
	Endpoints int // isolated local pods
	Rules     int // each rule takes 1, with a range of ports up to 30
	Tracked   int // datagram flows remembered; the least recently seen go first
	Owned     int // addresses of pods that have interfaces
}

// The defaults hold 10,000 local pods whose policies tell 1,000 groups apart, in 32 MB when full.
var defaultPolicySizes = PolicySizes{Peers: 1 << 17, Endpoints: 1 << 16, Rules: 1 << 18, Tracked: 1 << 16, Owned: 1 << 14}

func (s *PolicySizes) fields() []sizeField {
	d := &defaultPolicySizes
	return []sizeField{
		{"Peers", &s.Peers, &d.Peers},
		{"Endpoints", &s.Endpoints, &d.Endpoints},
		{"Rules", &s.Rules, &d.Rules},
		{"Tracked", &s.Tracked, &d.Tracked},
		{"Owned", &s.Owned, &d.Owned},
	}
}

// Validate tells all that is wrong with an EnforcerConfig.
func (c EnforcerConfig) Validate() error {
	var errs []error
	if c.Proxy == nil {
		errs = append(errs, errors.New("proxy: missing"))
	}
	for _, f := range c.Sizes.fields() {
		if *f.value < 0 || *f.value > maxEntries {
			errs = append(errs, fmt.Errorf("size %s is %d, not within 1 to %d", f.name, *f.value, maxEntries))
		}
	}
	return errors.Join(errs...)
}

// Names of maps in bpf/policy.h and bpf/flow.h, and of links.
const (
	mapPeers      = "petrel_ipcache"
	mapEndpoints  = "petrel_endpoint"
	mapAllow      = "petrel_allow"
	mapTrack      = "petrel_track"
	mapDevices    = "petrel_device"
	mapPolicyConf = "petrel_polconf"
	mapVerdicts   = "petrel_verdicts"
)

// Enforcer holds pods to a Policy. Its methods are safe for concurrent use.
type Enforcer struct {
	cfg EnforcerConfig

	mu         sync.Mutex
	collection *ebpf.Collection // nil: not open
	base       uint32           // above all numbers that an earlier process left in the maps
	peers      *mirror[bpf.PolicyPeerKey, bpf.PolicyPeer]
	endpoints  *mirror[bpf.PolicyAddr16, bpf.PolicyEndpoint]
	allow      *mirror[bpf.PolicyAllowKey, uint32]
	owned      *mirror[bpf.PolicyDeviceKey, uint32]
	guarded    map[int]bool // interfaces, by index
	attached   bool         // the programs on the control group
	listeners  int          // readings of flows
	synced     bool         // the maps hold what they should, as far as it fits
}

// NewEnforcer makes an Enforcer that is not open.
func NewEnforcer(cfg EnforcerConfig) (*Enforcer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("new enforcer: %w", err)
	}
	for _, f := range cfg.Sizes.fields() {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
	return &Enforcer{cfg: cfg}, nil
}

// Open loads the programs; they are attached while a pod is isolated or somebody listens to flows. Where an earlier process left pins, its policy holds until the first
// Sync, without a gap. It is opened before anyone listens to Flows.
func (e *Enforcer) Open(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.collection != nil {
		return errors.New("open enforcer: it is open")
	}
	if err := e.open(); err != nil {
		return fmt.Errorf("open enforcer: %w", unsupported(err))
	}
	return nil
}

func (e *Enforcer) open() error {
	spec, err := bpf.LoadPolicy()
	if err != nil {
		return err
	}
	for name, size := range map[string]int{
		mapPeers: e.cfg.Sizes.Peers, mapEndpoints: e.cfg.Sizes.Endpoints, mapAllow: e.cfg.Sizes.Rules, mapTrack: e.cfg.Sizes.Tracked,
		mapDevices: e.cfg.Sizes.Owned,
	} {
		spec.Maps[name].MaxEntries = uint32(size)
	}
	collection, err := e.cfg.Proxy.loadShared(spec)
	if err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	e.attached, e.synced = false, false
	// An earlier process may have ended while somebody listened to its flows.
	err = collection.Maps[mapFlowConf].Put(uint32(0), bpf.PolicyFlowConf{})
	if err == nil {
		err = e.takeOver(collection)
	}
	if err == nil {
		err = e.hook(collection)
	}
	if err != nil {
		collection.Close()
		return err
	}
	e.collection = collection
	return nil
}

// takeOver reads what an earlier process left. The caller's numbers begin anew, and must not mean what they meant then
// while the old and the new rules stand side by side.
func (e *Enforcer) takeOver(collection *ebpf.Collection) error {
	var errs [4]error
	e.guarded = map[int]bool{}
	e.peers, errs[0] = newMirror[bpf.PolicyPeerKey, bpf.PolicyPeer]("Peers", collection.Maps[mapPeers])
	e.endpoints, errs[1] = newMirror[bpf.PolicyAddr16, bpf.PolicyEndpoint]("Endpoints", collection.Maps[mapEndpoints])
	e.allow, errs[2] = newMirror[bpf.PolicyAllowKey, uint32]("Rules", collection.Maps[mapAllow])
	e.owned, errs[3] = newMirror[bpf.PolicyDeviceKey, uint32]("Owned", collection.Maps[mapDevices])
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	e.base = 0
	for _, peer := range e.peers.have {
		e.base = max(e.base, peer.Identity)
	}
	for key := range e.allow.have {
		e.base = max(e.base, key.Subject, key.Identity)
	}
	for _, p := range e.endpoints.have {
		e.base = max(e.base, p.Ingress, p.Egress)
	}
	if e.base >= maxNumber { // after two thousand million numbers of one boot: what is left goes
		e.base = 0
		return errors.Join(e.endpoints.drop(nil), e.peers.drop(nil), e.allow.drop(nil))
	}
	return nil
}

// Close lets go of the programs. Those that the proxy pinned hold on to the last policy; others end with the proxy.
func (e *Enforcer) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collection != nil {
		e.collection.Close()
		e.collection, e.attached = nil, false
	}
	return nil
}

// Detach ends enforcement: nothing is denied any more.
func (e *Enforcer) Detach() error {
	err := e.SetDevices(nil)
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	e.mu.Lock()
	err = errors.Join(err, e.unhook())
	e.mu.Unlock()
	return errors.Join(err, e.Close())
}

// Stats reads the counters.
func (e *Enforcer) Stats() (PolicyStats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collection == nil {
		return PolicyStats{}, fmt.Errorf("read policy counters: %w", ErrClosed)
	}
	var all [12]uint64 // by direction, then in VerdictCounts' order
	if err := sumCounters(e.collection.Maps[mapVerdicts], all[:]); err != nil {
		return PolicyStats{}, fmt.Errorf("read policy counters: %w", err)
	}
	counts := func(n []uint64) VerdictCounts {
		return VerdictCounts{Allowed: n[0], Denied: n[1], Replies: n[2], Refused: n[3], Untracked: n[4], Forged: n[5]}
	}
	return PolicyStats{Ingress: counts(all[:6]), Egress: counts(all[6:])}, nil
}

// sumCounters adds up what each processor counted under each index of a per-CPU array.
func sumCounters(m *ebpf.Map, into []uint64) error {
	var cpus []uint64
	for i := range into {
		if err := m.Lookup(uint32(i), &cpus); err != nil {
			return err
		}
		for _, n := range cpus {
			into[i] += n
		}
	}
	return nil
}
