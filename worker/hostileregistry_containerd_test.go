package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// spoiler serves one image under every repository, and under some otherwise than it says.
type spoiler struct {
	manifest, config, layer []byte
	layerDigest             string
}

func newSpoiler(t *testing.T) *spoiler {
	t.Helper()
	image := containerdtest.Image(t, v1.Config{Cmd: []string{"/nothing"}}, map[string]containerdtest.File{"etc/file": {Content: []byte(strings.Repeat("content ", 100))}})
	s := &spoiler{}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	var buffer bytes.Buffer
	if _, err := buffer.ReadFrom(packed); err != nil {
		t.Fatal(err)
	}
	s.layer, s.layerDigest = buffer.Bytes(), fmt.Sprintf("sha256:%x", sha256.Sum256(buffer.Bytes()))
	if s.manifest, err = image.RawManifest(); err != nil {
		t.Fatal(err)
	}
	if s.config, err = image.RawConfigFile(); err != nil {
		t.Fatal(err)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *spoiler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	manifest, isLayer := strings.Contains(r.URL.Path, "/manifests/"), strings.HasSuffix(r.URL.Path, s.layerDigest)
	switch {
	case repository == "circle":
		http.Redirect(w, r, r.URL.Path+"/round", http.StatusTemporaryRedirect)
	case repository == "busy":
		w.WriteHeader(http.StatusServiceUnavailable)
	case repository == "silent":
		<-r.Context().Done()
	case repository == "page":
		_, _ = w.Write([]byte("<html>somebody else's page</html>"))
	case repository == "huge" && manifest:
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = w.Write(bytes.Repeat([]byte(" "), 64<<20))
	case repository == "other" && isLayer:
		_, _ = w.Write(bytes.Repeat([]byte("x"), len(s.layer)))
	case repository == "short" && isLayer:
		w.Header().Set("Content-Length", fmt.Sprint(len(s.layer)))
		_, _ = w.Write(s.layer[:len(s.layer)/2])
		panic(http.ErrAbortHandler)
	case manifest:
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = w.Write(s.manifest)
	case isLayer:
		_, _ = w.Write(s.layer)
	default:
		_, _ = w.Write(s.config)
	}
}

// TestContainersOfHostileRegistries: what a registry does otherwise than it should is a condition of the pods that need it,
// and of no others.
func TestContainersOfHostileRegistries(t *testing.T) {
	ctd := containerdtest.Start(t, containerdtest.Config{})
	ctd.ImportBusybox()
	var listener net.Listener
	err := ctd.InNetns(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server, done := &http.Server{Handler: newSpoiler(t)}, make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	host := listener.Addr().String()
	hosts := filepath.Join(ctd.RegistryConfigDir(), host)
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), []byte("server = \"http://"+host+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := newTestNode(t)
	n.stop()
	n.cfg.ContainerdEndpoint, n.cfg.CgroupRoot = ctd.Socket(), ctd.CgroupParent+"/node"
	n.start()
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "runc"}, Handler: "runc"}
	if _, err := n.client.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pulls := func(repository string) *corev1.Pod {
		return shellPod(repository, "true", func(p *corev1.Pod) {
			p.Spec.RuntimeClassName = ptr.To("runc")
			p.Spec.Containers[0].Image = host + "/" + repository + "/app:v1"
		})
	}
	n.create(pulls("silent"))
	for repository, says := range map[string]string{
		"circle": "redirect", "busy": "503", "page": "", "huge": "", "other": "sha256:", "short": "",
	} {
		n.create(pulls(repository))
		p := n.until(repository, "refused", func(p *corev1.Pod) bool {
			reason := waitingReason(p)
			return reason == reasonPull || reason == reasonPullBackOff
		})
		message := p.Status.ContainerStatuses[0].State.Waiting.Message
		if !strings.Contains(message, host+"/"+repository) || !strings.Contains(message, says) || len(message) > 4<<10 {
			t.Errorf("%s: the condition of its pod is %q, want one that names the image and %q", repository, message, says)
		}
		t.Logf("%s: %s", repository, message)
		n.delete(repository, 0)
		n.gone(repository)
	}
	n.create(shellPod("fine", "exit 0", policy(corev1.RestartPolicyNever)))
	n.phase("fine", corev1.PodSucceeded)
	n.delete("silent", 0) // a pull that hangs holds no pod's end up
	n.gone("silent")
	if images, err := ctd.CRI.ListImages(context.WithoutCancel(t.Context())); err != nil || len(images) > 2 { // busybox and pause
		t.Errorf("%d images are there, %v", len(images), err)
	}
}
