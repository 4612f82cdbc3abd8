package critest_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// entry is one of a layer as somebody with bad intentions writes it: names are taken as they are.
type entry struct {
	kind         byte
	name, link   string
	content      string
	major, minor int64
}

func layerOf(t *testing.T, entries ...entry) v1.Layer {
	t.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		err := w.WriteHeader(&tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Size: int64(len(e.content)), Mode: 0o777, Devmajor: e.major, Devminor: e.minor})
		if err == nil {
			_, err = w.Write([]byte(e.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// testBreakouts: whatever the layers of an image say, nothing of the node is changed or shown by unpacking and running it.
// A runtime may refuse such an image, or keep what it means within the container.
func testBreakouts(t *testing.T, c *containerdtest.Containerd) {
	host := t.TempDir()
	if err := os.Chmod(host, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"victim": "the node's", "opaque/kept": "the node's"} {
		path := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p := place{Containerd: c, config: c.Sandbox("breakout")}
	p.sandbox, _ = c.Run(p.config)
	up := strings.Repeat("../", 40)
	out := entry{kind: tar.TypeSymlink, name: "out", link: host}
	for name, layers := range map[string][][]entry{
		"an absolute name":              {{{kind: tar.TypeReg, name: host + "/new", content: "x"}}},
		"a way out":                     {{{kind: tar.TypeReg, name: up + host[1:] + "/new", content: "x"}}},
		"a way out in the midst":        {{{kind: tar.TypeReg, name: "a/" + up + host[1:] + "/new", content: "x"}}},
		"an ancestor that is a link":    {{out, {kind: tar.TypeReg, name: "out/new", content: "x"}}},
		"a lower layer's link":          {{out}, {{kind: tar.TypeReg, name: "out/new", content: "x"}}},
		"a link up":                     {{{kind: tar.TypeSymlink, name: "out", link: up + host[1:]}, {kind: tar.TypeReg, name: "out/new", content: "x"}}},
		"a file over a link":            {{{kind: tar.TypeSymlink, name: "file", link: host + "/victim"}, {kind: tar.TypeReg, name: "file", content: "x"}}},
		"a hard link out":               {{{kind: tar.TypeLink, name: "file", link: host + "/victim"}, {kind: tar.TypeReg, name: "file", content: "x"}}},
		"a hard link through a link":    {{out, {kind: tar.TypeLink, name: "file", link: "out/victim"}, {kind: tar.TypeReg, name: "file", content: "x"}}},
		"a hard link into a link":       {{{kind: tar.TypeReg, name: "own", content: "x"}, out, {kind: tar.TypeLink, name: "out/new", link: "own"}}},
		"a whiteout through a link":     {{out}, {{kind: tar.TypeReg, name: "out/.wh.victim"}}},
		"an opaque whiteout by a link":  {{{kind: tar.TypeSymlink, name: "out", link: host + "/opaque"}}, {{kind: tar.TypeReg, name: "out/.wh..wh..opq"}}},
		"a whiteout of what is above":   {{{kind: tar.TypeReg, name: "a/.wh..."}, {kind: tar.TypeReg, name: ".wh..."}}},
		"a device of the node's memory": {{{kind: tar.TypeChar, name: "device", major: 1, minor: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			image := "test.petrel.internal/" + strings.NewReplacer(" ", "-", "'", "").Replace(name) + ":1"
			base := containerdtest.BusyboxImage(t, v1.Config{Cmd: []string{"/bin/sh"}})
			for _, entries := range layers {
				var err error
				if base, err = mutate.AppendLayers(base, layerOf(t, entries...)); err != nil {
					t.Fatal(err)
				}
			}
			if read, err := p.runImage(t, image, base, "cat /file /out/victim /out/new 2>/dev/null; head -c 1 /device >/dev/null 2>&1 && echo opened; rm -rf /out/ /file; echo end"); err != nil {
				t.Logf("refused: %v", err)
			} else if strings.Contains(read, "the node's") || strings.Contains(read, "opened") || !strings.Contains(read, "end") {
				t.Errorf("the container read %q", read)
			}
			for name, want := range map[string]string{"victim": "the node's", "opaque/kept": "the node's"} {
				if got, err := os.ReadFile(filepath.Join(host, name)); err != nil || string(got) != want {
					t.Errorf("%s on the node is %q, %v", name, got, err)
				}
			}
			if entries, err := os.ReadDir(host); err != nil || len(entries) != 2 {
				t.Errorf("on the node there are %v, %v", entries, err)
			}
		})
	}
}

// scriptTime bounds a script that does next to nothing, on a busy machine.
const scriptTime = time.Minute

// place is a pod that containers come into.
type place struct {
	*containerdtest.Containerd
	sandbox string
	config  *runtimev1.PodSandboxConfig
}

// runImage imports an image, runs a script in a container of it, and answers what that wrote.
func (p *place) runImage(t *testing.T, name string, image v1.Image, script string) (string, error) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(mutate.MediaType(image, types.OCIManifestSchema1), file); err != nil {
		t.Fatal(err)
	}
	p.Import(name, image)
	ctx := t.Context()
	id, err := p.CRI.CreateContainer(ctx, p.sandbox, containerdtest.Container(strings.NewReplacer("/", "-", ":", "-", ".", "-").Replace(name), name, "/bin/sh", "-c", "sleep 600"), p.config)
	if err == nil {
		err = p.CRI.StartContainer(ctx, id)
	}
	if err != nil {
		return "", err
	}
	r, err := p.CRI.ExecSync(ctx, id, []string{"/bin/sh", "-c", script}, scriptTime)
	return string(r.Stdout), err
}
