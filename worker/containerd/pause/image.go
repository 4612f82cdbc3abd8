package pause

import (
	"archive/tar"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

//go:embed pause_linux_*
var programs embed.FS

// user needs no rights: the program opens nothing.
const user = "65535:65535"

// Program is the executable for an architecture by Go's name of it.
func Program(arch string) ([]byte, error) {
	program, err := programs.ReadFile("pause_linux_" + arch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no pause program for %s", arch)
	}
	return program, err
}

// Image is the image for this machine. It is the same, by its digest, wherever it is made.
func Image() (v1.Image, error) {
	program, err := Program(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	packed, err := pack(program)
	if err != nil {
		return nil, fmt.Errorf("pack pause program: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("make pause layer: %w", err)
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, fmt.Errorf("make pause image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make pause image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/pause"}, User: user}
	return mutate.ConfigFile(image, config)
}

func pack(program []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pause", Mode: 0o755, Size: int64(len(program)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(program)
	}
	return out.Bytes(), errors.Join(err, w.Close())
}
