package volume

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

func TestFilesForGuests(t *testing.T) {
	p := podWith(map[string]corev1.VolumeSource{"s": {Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To[int32](0o400)}}})
	dir := t.TempDir()
	for _, guests := range []bool{false, true} {
		m := &Maker{Source: objects{"s": {"k": []byte("x")}}, Guests: guests}
		if _, err := m.Make(t.Context(), p, dir, env.Facts{}); err != nil {
			t.Fatal(err)
		}
		want := map[bool]os.FileMode{false: 0o400, true: 0o444}[guests]
		if info, err := os.Stat(dir + "/s/k"); err != nil || info.Mode().Perm() != want {
			t.Errorf("guests %v: mode %v, %v", guests, info.Mode(), err)
		}
	}
}

func TestClosed(t *testing.T) {
	keys := func(mode int32) []corev1.KeyToPath { return []corev1.KeyToPath{{Key: "k", Path: "k", Mode: &mode}} }
	for _, tc := range []struct {
		source corev1.VolumeSource
		want   bool
	}{
		{configMap("cm"), false},
		{configMap("cm", keys(0o644)...), false},
		{configMap("cm", keys(0o600)...), true},
		{corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{DefaultMode: ptr.To[int32](0o440)}}, true},
		{corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Mode: ptr.To[int32](0o400)}}}}, true},
		{corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{Items: keys(0o400)}}}}}, true},
		{corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o644)}}, false},
		{corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, false},
	} {
		if got := Closed(podWith(map[string]corev1.VolumeSource{"v": tc.source})); got != tc.want {
			t.Errorf("%+v: %v", tc.source, got)
		}
	}
}
