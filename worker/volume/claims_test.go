package volume

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

type claimed map[string]*corev1.PersistentVolume

func (c claimed) Volume(_ context.Context, _, claim string) (*corev1.PersistentVolume, error) {
	if v := c[claim]; v != nil {
		return v, nil
	}
	return nil, errors.New("not bound")
}

func localVolume(name, path, node string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}},
	}}
	for _, c := range change {
		c(v)
	}
	return v
}

func TestClaimedVolumes(t *testing.T) {
	base := t.TempDir()
	own, open := base+"/local-path", base+"/open"
	if err := os.MkdirAll(open+"/disk", 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(v *corev1.PersistentVolume) {
		v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
	}
	m := &Maker{
		HostPaths: []string{open}, LocalDir: own, NodeLabels: map[string]string{corev1.LabelHostname: "n1"},
		Claims: claimed{
			"made":      localVolume("pvc-1", own+"/pvc-1", "n1"),
			"disk":      localVolume("disk", open+"/disk", "n1", read),
			"elsewhere": localVolume("pvc-2", own+"/pvc-2", "n2"),
			"closed":    localVolume("etc", "/etc", "n1"),
			"other":     localVolume("pvc-3", own+"/pvc-1", "n1"), // another volume's directory
			"up":        localVolume("..", base, "n1"),
			"absent":    localVolume("absent", open+"/absent", "n1"),
			"block": localVolume("b", open+"/disk", "n1", func(v *corev1.PersistentVolume) {
				v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
			}),
			"nfs": {ObjectMeta: metav1.ObjectMeta{Name: "nfs"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}}},
			"host": {ObjectMeta: metav1.ObjectMeta{Name: "host"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: open + "/new", Type: ptr.To(corev1.HostPathDirectoryOrCreate)}}}},
		},
	}
	claim := func(name string, readOnly bool) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: readOnly}}
	}
	for _, tc := range []struct {
		source   corev1.VolumeSource
		at       string // where it is, or what the error says
		readOnly bool
	}{
		{claim("made", false), own + "/pvc-1", false},
		{claim("made", true), own + "/pvc-1", true},
		{claim("disk", false), open + "/disk", true},
		{claim("host", false), open + "/new", false},
		{claim("elsewhere", false), "on another node", false},
		{claim("closed", false), "not below a directory", false},
		{claim("other", false), "not below a directory", false},
		{claim("up", false), "not below a directory", false},
		{claim("absent", false), "no such file", false},
		{claim("block", false), "block device", false},
		{claim("nfs", false), "not supported", false},
		{claim("none", false), "not bound", false},
		{corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}, "not bound", false}, // the claim p-v
	} {
		p := podWith(map[string]corev1.VolumeSource{"v": tc.source})
		host, err := m.Make(t.Context(), p, base+"/pod", env.Facts{})
		if err != nil {
			if !strings.Contains(err.Error(), tc.at) || strings.HasPrefix(tc.at, "/") {
				t.Errorf("%+v: %v, want %s", tc.source, err, tc.at)
			}
			continue
		}
		mounts, err := Mounts(p, &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}, host, nil)
		if err != nil || mounts[0].HostPath != tc.at || mounts[0].ReadOnly != tc.readOnly {
			t.Errorf("%+v: %+v, %v, want %s", tc.source, mounts, err, tc.at)
		}
		if info, err := os.Stat(host.Path("v")); err != nil || !info.IsDir() || strings.HasPrefix(tc.at, own) && info.Mode().Perm() != emptyDirMode {
			t.Errorf("%+v: %v, %v", tc.source, info, err)
		}
	}
	if entries, err := os.ReadDir(own); err != nil || len(entries) != 1 {
		t.Errorf("directories of volumes that are not this node's: %v, %v", entries, err)
	}
}
