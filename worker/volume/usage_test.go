package volume

import (
	"context"
	"errors"
	"maps"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	usage := func() int64 {
		t.Helper()
		n, err := Usage(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	empty := usage()
	if err := os.WriteFile(dir+"/f", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := usage() - empty; got < 1<<20 || got > 2<<20 {
		t.Errorf("a megabyte takes %d", got)
	}
	before := usage()
	outside := t.TempDir() + "/big"
	if err := os.WriteFile(outside, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Link(dir+"/f", dir+"/again"), os.Symlink(outside, dir+"/link"), sparse.Truncate(1 << 30), sparse.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := usage() - before; got > 64<<10 {
		t.Errorf("links and holes take %d", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Usage(ended, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n, err := Usage(t.Context(), dir+"/none"); n != 0 || err != nil {
		t.Errorf("nothing takes %d, %v", n, err)
	}
}

func TestUsageLeavesMountsOut(t *testing.T) {
	dir := needMounts(t)
	if err := os.Mkdir(dir+"/in", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir+"/in", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/in/f", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if n, err := Usage(t.Context(), dir); err != nil || n >= 1<<20 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestLimited(t *testing.T) {
	limit := ptr.To(resource.MustParse("1Mi"))
	p := podWith(map[string]corev1.VolumeSource{
		"limited": {EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: limit}},
		"memory":  {EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: limit, Medium: corev1.StorageMediumMemory}},
		"free":    {EmptyDir: &corev1.EmptyDirVolumeSource{}}, "cm": configMap("cm"),
	})
	if got := Limited(p); !maps.Equal(got, map[string]int64{"limited": 1 << 20}) {
		t.Errorf("limited: %v", got)
	}
}
