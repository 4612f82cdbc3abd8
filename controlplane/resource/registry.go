package resource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// DefaultServiceCIDR is where cluster IPs come from in loopback mode.
var DefaultServiceCIDR = netip.MustParsePrefix("127.43.0.0/16")

// DefaultNodePorts is the range of node ports, Kubernetes' own.
var DefaultNodePorts = PortRange{First: 30000, Last: 32767}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }

// Config is what a Registry needs.
type Config struct {
	Store store.Interface
	// ServiceCIDR is where cluster IPs come from; the zero Prefix: DefaultServiceCIDR. In 127.0.0.0/8 it says that the
	// cluster is one of loopback addresses, whose endpoints may be there too.
	ServiceCIDR netip.Prefix
	// NodePorts is where node ports come from; the zero range: DefaultNodePorts.
	NodePorts PortRange
	// SecureAPI says that the API server speaks TLS; default/kubernetes tells its clients.
	SecureAPI bool
	// Admission looks at every write after defaulting and before validation; nil: everything is admitted.
	Admission Admission
	// Now tells the time; nil: time.Now.
	Now func() time.Time
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.Store == nil:
		return errors.New("a store must be given")
	case !c.ServiceCIDR.Addr().Is4() || c.ServiceCIDR.Bits() > 30 || c.ServiceCIDR.Masked() != c.ServiceCIDR:
		return fmt.Errorf("service CIDR %v: must be an IPv4 network of at least four addresses", c.ServiceCIDR)
	case c.NodePorts.First < 1 || c.NodePorts.Last > 65535 || c.NodePorts.First > c.NodePorts.Last:
		return fmt.Errorf("node ports %d-%d: must be a range within 1-65535", c.NodePorts.First, c.NodePorts.Last)
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.ServiceCIDR == (netip.Prefix{}) {
		c.ServiceCIDR = DefaultServiceCIDR
	}
	if c.NodePorts == (PortRange{}) {
		c.NodePorts = DefaultNodePorts
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Admission may change or refuse a write. old is nil for a create, obj is nil for a delete.
type Admission interface {
	Admit(ctx context.Context, d *Definition, call Call, obj, old runtime.Object) error
}

// Registry carries out the API's verbs over a store. It is safe for concurrent use.
type Registry struct {
	cfg      Config
	store    store.Interface
	managers *managers
	services *services
}

// New makes a Registry. It does no I/O.
func New(cfg Config) (*Registry, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure registry: %w", err)
	}
	r := &Registry{cfg: cfg, store: cfg.Store, managers: newManagers()}
	r.services = newServices(r)
	return r, nil
}

// Call is what a request says besides the object.
type Call struct {
	Namespace   string
	Name        string
	Subresource string
	// User is who asks; nil for what the control plane does by itself.
	User *upstream.User
	// Manager is who comes to own the fields that are written; empty: nobody is tracked.
	Manager string
	DryRun  bool
	// FieldValidation of a patch: metav1.FieldValidationIgnore, Warn (also when empty) or Strict.
	FieldValidation string
	// Warn takes warnings for the client; nil drops them.
	Warn func(text string)
}

func (c Call) rules() upstream.Call {
	return upstream.Call{Namespace: c.Namespace, Name: c.Name, Subresource: c.Subresource, User: c.User, Warn: c.Warn}
}

// writes is call's rules, for a write: with services on loopback addresses, pods are there too.
func (r *Registry) writes(call Call) upstream.Call {
	rules := call.rules()
	rules.LoopbackPods = r.cfg.ServiceCIDR.Addr().IsLoopback()
	return rules
}

func (c Call) warn(text string) {
	if c.Warn != nil {
		c.Warn(text)
	}
}

// Get reads one object. With fresh it is linearizable.
func (r *Registry) Get(ctx context.Context, d *Definition, namespace, name string, fresh bool) (*store.Entry, error) {
	return r.store.Get(ctx, d.Stored, namespace, name, fresh)
}

// List reads a page of objects.
func (r *Registry) List(ctx context.Context, d *Definition, opts store.ListOptions) (*store.List, error) {
	return r.store.List(ctx, d.Stored, opts)
}

// Watch follows changes after revision from.
func (r *Registry) Watch(ctx context.Context, d *Definition, q store.Query, from int64) (store.Watcher, error) {
	return r.store.Watch(ctx, d.Stored, q, from)
}

// Revision is the newest revision that reads see.
func (r *Registry) Revision() int64 { return r.store.Revision() }

// Resources lists every served, listable resource.
func (r *Registry) Resources() []api.ResourceInfo {
	var out []api.ResourceInfo
	for _, d := range Definitions() {
		if d.Serves("list") {
			out = append(out, d.ResourceInfo)
		}
	}
	return out
}

func (r *Registry) now() metav1.Time {
	return metav1.NewTime(r.cfg.Now().UTC().Truncate(time.Second))
}
