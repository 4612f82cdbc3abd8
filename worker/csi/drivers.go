package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// callTimeout bounds one call of a driver: attaching and formatting take their time.
	callTimeout = 2 * time.Minute
	// apiTimeout bounds one call of the API.
	apiTimeout = 15 * time.Second
	// maxMessage bounds what a driver may answer.
	maxMessage = 4 << 20
)

// ErrNotRegistered says that a driver is not on this node, or not yet.
var ErrNotRegistered = errors.New("the driver is not registered on this node")

// Config says what drivers are for.
type Config struct {
	Client   kubernetes.Interface
	NodeName string
	// RegistryDir is where drivers put their registration sockets.
	RegistryDir string
	// StageDir is below which volumes are staged; PodsDir below which pods have theirs.
	StageDir, PodsDir string
	// Changed hears that InUse may have changed; nil: nobody does.
	Changed func()
	Logger  *slog.Logger
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil:
		return errors.New("csi needs a client")
	case c.NodeName == "":
		return errors.New("csi needs the node's name")
	}
	for _, dir := range []string{c.RegistryDir, c.StageDir, c.PodsDir} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("csi directory %q: want an absolute path", dir)
		}
	}
	return nil
}

// Drivers are the CSI drivers of the node.
type Drivers struct {
	cfg Config

	mu      sync.Mutex
	drivers map[string]*driver      // by name
	sockets map[string]*driver      // by registration socket
	volumes map[string]*volumeGuard // whose calls are under way
	// inUse is what InUse found; nil: it has to look. recorded counts the records' changes.
	inUse    *[]corev1.UniqueVolumeName
	recorded uint64
}

// driver is one that is registered.
type driver struct {
	name  string
	conn  *grpc.ClientConn
	node  csi.NodeClient
	info  *csi.NodeGetInfoResponse
	abler map[csi.NodeServiceCapability_RPC_Type]bool
}

// New makes it; drivers are found by Run.
func New(cfg Config) (*Drivers, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Drivers{cfg: cfg, drivers: map[string]*driver{}, sockets: map[string]*driver{}, volumes: map[string]*volumeGuard{}}, nil
}

func (d *Drivers) driver(name string) (*driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.drivers[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("csi driver %s: %w", name, ErrNotRegistered)
}

// dial connects to a driver's socket. Nothing is sent before the first call.
func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
}

// connect gets to know a driver by what its node service says.
func connect(ctx context.Context, name, endpoint string) (*driver, error) {
	conn, err := dial(endpoint)
	if err != nil {
		return nil, fmt.Errorf("connect to csi driver %s: %w", name, err)
	}
	r := &driver{name: name, conn: conn, node: csi.NewNodeClient(conn), abler: map[csi.NodeServiceCapability_RPC_Type]bool{}}
	if err := r.ask(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("ask csi driver %s: %w", name, err), conn.Close())
	}
	return r, nil
}

func (r *driver) ask(ctx context.Context) error {
	var err error
	if r.info, err = r.node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{}); err != nil {
		return err
	}
	if r.info.GetNodeId() == "" {
		return errors.New("it gives the node no id")
	}
	able, err := r.node.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		return err
	}
	for _, c := range able.GetCapabilities() {
		r.abler[c.GetRpc().GetType()] = true
	}
	return nil
}

func (r *driver) stages() bool { return r.abler[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] }

// volumeGuard has the calls about one volume come one after the other.
type volumeGuard struct {
	mu    sync.Mutex
	users int
}

// alone waits until nobody else has to do with the volume.
func (d *Drivers) alone(key string) (done func()) {
	d.mu.Lock()
	g := d.volumes[key]
	if g == nil {
		g = &volumeGuard{}
		d.volumes[key] = g
	}
	g.users++
	d.mu.Unlock()
	g.mu.Lock()
	return func() {
		g.mu.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(d.volumes, key)
		}
	}
}
