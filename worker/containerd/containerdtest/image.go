package containerdtest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Busybox is the name under which Start's containerd gets Debian's busybox from ImportBusybox.
const Busybox = "test.petrel.internal/busybox:1"

// busyboxPath is where Debian's busybox-static has it.
const busyboxPath = "/bin/busybox"

// ImportBusybox imports an image with a shell and the usual commands, whose command is a shell, and answers its name.
func (c *Containerd) ImportBusybox() string {
	c.tb.Helper()
	c.Import(Busybox, BusyboxImage(c.tb, v1.Config{Cmd: []string{"/bin/sh"}}))
	return Busybox
}

// BusyboxImage is an image of Debian's busybox with the given configuration, and with further files by their paths.
func BusyboxImage(tb testing.TB, config v1.Config, more ...map[string]File) v1.Image {
	tb.Helper()
	program, err := os.ReadFile(busyboxPath)
	if err != nil {
		tb.Fatalf("the tests need Debian's busybox-static: %v", err)
	}
	names, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		tb.Fatal(err)
	}
	entries := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "root/", Mode: 0o700},
		{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
	}
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" {
			entries = append(entries, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
		}
	}
	files := map[string]File{
		"bin/busybox": {Content: program, Mode: 0o755},
		"etc/passwd":  {Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/tmp:/bin/sh\n")},
		"etc/group":   {Content: []byte("root:x:0:\nnobody:x:65534:\nuser:x:1000:\nextra:x:1001:user\n")},
	}
	for _, m := range more {
		maps.Copy(files, m)
	}
	return makeImage(tb, config, entries, files)
}

// File is a regular file of an image.
type File struct {
	Content []byte
	Mode    int64 // 0644 when zero
}

// Image is an image of one layer with the given files by their paths, without a leading slash.
func Image(tb testing.TB, config v1.Config, files map[string]File) v1.Image {
	tb.Helper()
	return makeImage(tb, config, nil, files)
}

func makeImage(tb testing.TB, config v1.Config, entries []tar.Header, files map[string]File) v1.Image {
	tb.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	put := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	for _, h := range entries {
		put(h, nil)
	}
	for name, f := range files {
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		put(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, f.Content)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	image, err := imageOf(packed.Bytes(), config)
	if err != nil {
		tb.Fatal(err)
	}
	return image
}

// imageOf is an OCI image of one packed layer.
func imageOf(packed []byte, config v1.Config) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(image, file)
}
