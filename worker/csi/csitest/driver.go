package csitest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Driver is a running driver. Its fields may be changed before Serve.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	Name, NodeID, Type string
	Versions           []string
	Topology           map[string]string
	// NoStaging has volumes published without being staged first.
	NoStaging bool

	volumes string // where the directories are that volumes are

	mu         sync.Mutex
	fail       map[string]error
	calls      []string
	registered *registration.RegistrationStatus
	published  *csi.NodePublishVolumeRequest
	staged     *csi.NodeStageVolumeRequest
	server     *grpc.Server
	done       sync.WaitGroup
}

// New makes a driver whose volumes are below a directory of the test.
func New(tb testing.TB, name string) *Driver {
	return &Driver{
		Name: name, NodeID: "node-id", Type: registration.CSIPlugin, Versions: []string{"1.0.0"}, volumes: tb.TempDir(), fail: map[string]error{},
	}
}

// Serve has the driver register itself in the directory, and ends it with the test.
func (d *Driver) Serve(tb testing.TB, registry string) {
	tb.Helper()
	if err := os.MkdirAll(registry, 0o755); err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("unix", d.Socket(registry))
	if err != nil {
		tb.Fatal(err)
	}
	d.server = grpc.NewServer()
	csi.RegisterIdentityServer(d.server, d)
	csi.RegisterNodeServer(d.server, d)
	registration.RegisterRegistrationServer(d.server, d)
	d.done.Go(func() { _ = d.server.Serve(listener) }) // it ends by Stop
	tb.Cleanup(d.Stop)
}

// Socket is where the driver serves.
func (d *Driver) Socket(registry string) string { return filepath.Join(registry, d.Name+"-reg.sock") }

// Stop ends the driver; its mounts stay.
func (d *Driver) Stop() {
	d.server.Stop()
	d.done.Wait()
}

// Fail has calls of a method answered by an error; nil: no longer.
func (d *Driver) Fail(method string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[method] = err
}

// Calls are the methods that changed something, in order.
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.calls...)
}

// Registered is what the driver was last told of its registration; nil: nothing.
func (d *Driver) Registered() *registration.RegistrationStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.registered
}

// Published is the last request to publish.
func (d *Driver) Published() *csi.NodePublishVolumeRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.published
}

// Staged is the last request to stage.
func (d *Driver) Staged() *csi.NodeStageVolumeRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.staged
}

// Volume is the directory that a volume is.
func (d *Driver) Volume(handle string) string { return filepath.Join(d.volumes, handle) }

func (d *Driver) begin(method string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, method)
	return d.fail[method]
}

// GetInfo implements the registration protocol.
func (d *Driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: d.Type, Name: d.Name, SupportedVersions: d.Versions}, nil // it serves at the same socket
}

// NotifyRegistrationStatus implements the registration protocol.
func (d *Driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.registered = s
	return &registration.RegistrationStatusResponse{}, nil
}

// NodeGetInfo implements csi.NodeServer.
func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	info := &csi.NodeGetInfoResponse{NodeId: d.NodeID, MaxVolumesPerNode: 7}
	if d.Topology != nil {
		info.AccessibleTopology = &csi.Topology{Segments: d.Topology}
	}
	return info, nil
}

// NodeGetCapabilities implements csi.NodeServer.
func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	out := &csi.NodeGetCapabilitiesResponse{}
	if !d.NoStaging {
		out.Capabilities = []*csi.NodeServiceCapability{{Type: &csi.NodeServiceCapability_Rpc{
			Rpc: &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME},
		}}}
	}
	return out, nil
}

// NodeStageVolume implements csi.NodeServer.
func (d *Driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if err := d.begin("stage"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.staged = r
	d.mu.Unlock()
	if err := os.MkdirAll(d.Volume(r.GetVolumeId()), 0o755); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, bind(d.Volume(r.GetVolumeId()), r.GetStagingTargetPath(), false)
}

// NodeUnstageVolume implements csi.NodeServer.
func (d *Driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := d.begin("unstage"); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, unbind(r.GetStagingTargetPath())
}

// NodePublishVolume implements csi.NodeServer.
func (d *Driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := d.begin("publish"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.published = r
	d.mu.Unlock()
	from := r.GetStagingTargetPath()
	if from == "" {
		from = d.Volume(r.GetVolumeId())
		if err := os.MkdirAll(from, 0o755); err != nil {
			return nil, err
		}
	} else if mounted(from) == 0 {
		return nil, status.Error(codes.FailedPrecondition, "the volume is not staged")
	}
	if err := os.MkdirAll(r.GetTargetPath(), 0o755); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, bind(from, r.GetTargetPath(), r.GetReadonly())
}

// NodeUnpublishVolume implements csi.NodeServer.
func (d *Driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := d.begin("unpublish"); err != nil {
		return nil, err
	}
	if err := unbind(r.GetTargetPath()); err != nil {
		return nil, err
	}
	err := os.Remove(r.GetTargetPath())
	if os.IsNotExist(err) {
		err = nil
	}
	return &csi.NodeUnpublishVolumeResponse{}, err
}

// bind mounts, unless something is mounted there.
func bind(from, at string, readOnly bool) error {
	if mounted(at) > 0 {
		return nil
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if readOnly {
		return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func unbind(at string) error {
	if mounted(at) == 0 {
		return nil
	}
	return unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
}

// mounted is 1 when something is mounted right at the path.
func mounted(at string) int {
	var here, above unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, at, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &here) != nil ||
		unix.Statx(unix.AT_FDCWD, filepath.Dir(at), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &above) != nil || here.Mnt_id == above.Mnt_id {
		return 0
	}
	return 1
}
