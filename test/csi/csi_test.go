// Package csi has upstream's own test driver, with which Kubernetes tests kubelets, as the peer of worker/csi.
package csi

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/mock/service"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/csi"
)

const (
	name     = "csi-mock.example"
	patience = 60 * time.Second
)

// registrar registers the driver as node-driver-registrar does: at a socket of its own.
type registrar struct {
	registration.UnimplementedRegistrationServer
	endpoint string
	told     chan *registration.RegistrationStatus
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	r.told <- s
	return &registration.RegistrationStatusResponse{}, nil
}

func serve(t *testing.T, socket string, register func(*grpc.Server)) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(listener) }) // it ends by Stop
	t.Cleanup(func() {
		server.Stop()
		done.Wait()
	})
}

// TestUpstreamsDriver publishes a volume for two pods through the whole of the driver's calls and takes it back. The
// driver keeps account of what it is asked and refuses what is out of order.
func TestUpstreamsDriver(t *testing.T) {
	dir, err := os.MkdirTemp("", "ptl-mock-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	driver := service.New(service.Config{DriverName: name, IO: service.OSDirIO{}})
	made, err := driver.CreateVolume(t.Context(), &spec.CreateVolumeRequest{
		Name: "data", CapacityRange: &spec.CapacityRange{RequiredBytes: 1 << 20},
		VolumeCapabilities: []*spec.VolumeCapability{{
			AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	handle := made.GetVolume().GetVolumeId()
	serve(t, dir+"/plugins/mock/csi.sock", func(s *grpc.Server) {
		spec.RegisterIdentityServer(s, driver)
		spec.RegisterControllerServer(s, driver)
		spec.RegisterNodeServer(s, driver)
	})
	r := &registrar{endpoint: dir + "/plugins/mock/csi.sock", told: make(chan *registration.RegistrationStatus, 1)}
	serve(t, dir+"/reg/mock-reg.sock", func(s *grpc.Server) { registration.RegisterRegistrationServer(s, r) })

	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	drivers, err := csi.New(csi.Config{Client: client, NodeName: "n1", RegistryDir: dir + "/reg", StageDir: dir + "/stage", PodsDir: dir + "/pods"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- drivers.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case s := <-r.told:
		if !s.PluginRegistered {
			t.Fatalf("it was refused: %s", s.Error)
		}
	case <-time.After(patience):
		t.Fatal("the driver was not registered")
	}
	attach(t, client, driver, handle)

	var volumes []*csi.Volume
	for _, pod := range []string{"one", "two"} {
		v := &csi.Volume{
			Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod}}, Name: "v", Dir: filepath.Join(dir, "pods", pod, "volumes", "v"),
			Persistent: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
				AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: name, VolumeHandle: handle, FSType: "ext4"}},
			}},
		}
		volumes = append(volumes, v)
		for range 2 { // doing it again is no harm
			got, err := drivers.Publish(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(got.Path); err != nil || !info.IsDir() || !got.GiveAway {
				t.Errorf("published %+v: %v", got, err)
			}
		}
	}
	for _, v := range volumes {
		for range 2 {
			if err := drivers.Unpublish(t.Context(), filepath.Dir(v.Dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left, _ := filepath.Glob(dir + "/*/*/*/*/*"); len(left) > 0 {
		t.Errorf("it is left: %v", left)
	}
	if left, _ := filepath.Glob(dir + "/stage/*/*"); len(left) > 0 {
		t.Errorf("it is still staged: %v", left)
	}
	for _, end := range []error{detach(driver, handle), remove(driver, handle)} { // which it refuses for a volume in use
		if end != nil {
			t.Error(end)
		}
	}
}

// attach does what the driver's attacher does with a VolumeAttachment.
func attach(t *testing.T, client *fake.Clientset, driver service.Service, handle string) {
	t.Helper()
	published, err := driver.ControllerPublishVolume(t.Context(), &spec.ControllerPublishVolumeRequest{
		VolumeId: handle, NodeId: name, VolumeCapability: &spec.VolumeCapability{
			AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: csi.AttachmentName(handle, name, "n1")},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: name, NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pv")}},
		Status:     storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: published.GetPublishContext()},
	}
	if _, err := client.StorageV1().VolumeAttachments().Create(t.Context(), a, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func detach(driver service.Service, handle string) error {
	_, err := driver.ControllerUnpublishVolume(context.Background(), &spec.ControllerUnpublishVolumeRequest{VolumeId: handle, NodeId: name})
	return err
}

func remove(driver service.Service, handle string) error {
	_, err := driver.DeleteVolume(context.Background(), &spec.DeleteVolumeRequest{VolumeId: handle})
	return err
}
