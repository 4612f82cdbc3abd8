package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/env"
)

type objects map[string]map[string][]byte

func (o objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	s, err := o.Secret(context.Background(), "", name)
	if err != nil {
		return nil, err
	}
	cm := &corev1.ConfigMap{Data: map[string]string{}, BinaryData: map[string][]byte{}}
	for k, v := range s.Data {
		if strings.HasPrefix(k, "bin") {
			cm.BinaryData[k] = v
			continue
		}
		cm.Data[k] = string(v)
	}
	return cm, nil
}

func (o objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	data, ok := o[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &corev1.Secret{Data: data}, nil
}

func configMap(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
}

func podWith(volumes map[string]corev1.VolumeSource) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", Labels: map[string]string{"l": "v"}}}
	for name, source := range volumes {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	}
	return p
}

func TestMake(t *testing.T) {
	source := objects{"cm": {"a": []byte("1"), "bin": {0, 255}}, "s": {"pw": []byte("geheim")}}
	p := podWith(map[string]corev1.VolumeSource{
		"all":   configMap("cm"),
		"some":  configMap("cm", corev1.KeyToPath{Key: "a", Path: "deep/er/a", Mode: ptr.To[int32](0o600)}),
		"sec":   {Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To[int32](0o400)}},
		"none":  {Secret: &corev1.SecretVolumeSource{SecretName: "missing", Optional: ptr.To(true)}},
		"down":  {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
		"empty": {EmptyDir: &corev1.EmptyDirVolumeSource{}},
		"proj": {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
		}}},
	})
	maker := &Maker{Source: source}
	dir := t.TempDir()
	var host Host
	for range 2 { // making them twice is no harm
		var err error
		if host, err = maker.Make(t.Context(), p, dir, env.Facts{}); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"all/a": "1", "all/bin": "\x00\xff", "some/deep/er/a": "1", "sec/pw": "geheim", "down/labels": `l="v"`, "proj/pw": "geheim", "proj/name": "p",
	} {
		volume, file, _ := strings.Cut(path, "/")
		if got, err := os.ReadFile(filepath.Join(host.Path(volume), file)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]os.FileMode{"some/deep/er/a": 0o600, "sec/pw": 0o400, "all/a": 0o644, "empty": 0o777} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if got := visible(t, host.Path("none")); len(got) != 0 {
		t.Errorf("an absent optional secret has files: %v", got)
	}
}

func TestMakeRefuses(t *testing.T) {
	source := objects{"cm": {"a": nil}}
	for want, volume := range map[string]corev1.VolumeSource{
		`secret "missing" not found`:              {Secret: &corev1.SecretVolumeSource{SecretName: "missing"}},
		`no key "b" in configmap "cm"`:            configMap("cm", corev1.KeyToPath{Key: "b", Path: "b"}),
		"volume type is not supported":            {NFS: &corev1.NFSVolumeSource{}},
		"would lie outside of its volume":         configMap("cm", corev1.KeyToPath{Key: "a", Path: "../../escape"}),
		"no such file or directory":               {HostPath: &corev1.HostPathVolumeSource{Path: "/no/such/path"}},
		"is not a socket":                         {HostPath: &corev1.HostPathVolumeSource{Path: "/", Type: ptr.To(corev1.HostPathSocket)}},
		"is not a block device":                   {HostPath: &corev1.HostPathVolumeSource{Path: "/dev/null", Type: ptr.To(corev1.HostPathBlockDev)}},
		"issues none":                             {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}},
		"emptyDir of medium HugePages":            {EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumHugePages}},
		"is not a directory":                      {HostPath: &corev1.HostPathVolumeSource{Path: "/etc/hostname", Type: ptr.To(corev1.HostPathDirectory)}},
		"host path type Odd: volume type is not ": {HostPath: &corev1.HostPathVolumeSource{Path: "/", Type: ptr.To(corev1.HostPathType("Odd"))}},
	} {
		dir := t.TempDir()
		_, err := (&Maker{Source: source, HostPaths: []string{"/"}}).Make(t.Context(), podWith(map[string]corev1.VolumeSource{"v": volume}), dir, env.Facts{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `make volume "v": `) {
			t.Errorf("error = %v, want %q", err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "v")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a failed volume was left behind", want)
		}
	}
}

func TestHostPathsAreMadeWhenAskedFor(t *testing.T) {
	base := t.TempDir()
	p := podWith(map[string]corev1.VolumeSource{
		"d": {HostPath: &corev1.HostPathVolumeSource{Path: base + "/x/y", Type: ptr.To(corev1.HostPathDirectoryOrCreate)}},
		"f": {HostPath: &corev1.HostPathVolumeSource{Path: base + "/file", Type: ptr.To(corev1.HostPathFileOrCreate)}},
	})
	if _, err := (&Maker{HostPaths: []string{base}}).Make(t.Context(), p, t.TempDir(), env.Facts{}); err != nil {
		t.Fatal(err)
	}
	if d, err := os.Stat(base + "/x/y"); err != nil || !d.IsDir() {
		t.Errorf("directory: %v, %v", d, err)
	}
	if f, err := os.Stat(base + "/file"); err != nil || !f.Mode().IsRegular() {
		t.Errorf("file: %v, %v", f, err)
	}
}

// What the node does not let pods see stays out of sight, also behind symbolic links and before it is made.
func TestHostPathsAreBounded(t *testing.T) {
	base := t.TempDir()
	for _, d := range []string{"open/in", "closed/in"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"open/link": "../closed/in", "alias": "open/in", "open/nowhere": "../closed/none"} {
		if err := os.Symlink(to, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{
		"open": true, "open/in": true, "open/new/er": true, "alias": true, "alias/new": true,
		"closed": false, "openly": false, "open/link": false, "open/link/new": false, "open/../closed": false, "open/nowhere": false, "open/nowhere/x": false, "": false,
	} {
		m := &Maker{HostPaths: []string{base + "/missing", base + "/open"}}
		_, err := m.Make(t.Context(), podWith(map[string]corev1.VolumeSource{
			"v": {HostPath: &corev1.HostPathVolumeSource{Path: base + "/" + path, Type: ptr.To(corev1.HostPathDirectoryOrCreate)}},
		}), t.TempDir(), env.Facts{})
		if (err == nil) != want {
			t.Errorf("%q: %v, want it let through: %v", path, err, want)
		}
	}
	if entries, err := os.ReadDir(base + "/closed"); err != nil || len(entries) != 1 {
		t.Errorf("something was made where pods may not look: %v, %v", entries, err)
	}
}

// visible are the names that users of a volume see.
func visible(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") {
			out = append(out, e.Name())
		}
	}
	return out
}
