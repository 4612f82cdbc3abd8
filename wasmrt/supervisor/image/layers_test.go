package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// TestLayers: what the layers of an image mean together, and what is refused of them.
func TestLayers(t *testing.T) {
	good := string(wasm)
	older := "\x00asm an older one"
	tests := map[string]struct {
		layers [][]file
		says   string // of the refusal; empty: it is accepted
	}{
		"opaque directory with the file anew": {[][]file{{{name: "bin/x", content: "x"}}, {{name: "bin/.wh..wh..opq"}, {name: "bin/app.wasm", content: good}}}, ""},
		"whiteout and file in one layer":      {[][]file{{{name: "bin/app.wasm", content: older}}, {{name: "bin/app.wasm", content: good}, {name: "bin/.wh.app.wasm"}}}, ""},
		"the last of a name counts":           {[][]file{{{name: "bin/app.wasm", content: older}, {name: "./bin//app.wasm", content: good}}}, ""},
		"an absolute name":                    {[][]file{{{name: "/bin/app.wasm", content: good}}}, ""},
		"a directory of the name's way":       {[][]file{{{name: "bin", kind: tar.TypeDir}, {name: "bin/app.wasm", content: good}}}, ""},
		"links and devices beside it":         {[][]file{{{name: "dev/null", kind: tar.TypeChar}, {name: "etc", content: "/etc", kind: tar.TypeSymlink}, {name: "bin/app.wasm", content: good}}}, ""},
		"an upper layer's link over it":       {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: "bin/app.wasm", content: "/etc/passwd", kind: tar.TypeSymlink}}}, `/bin/app.wasm is a symbolic link to "/etc/passwd"`},
		"a link after it":                     {[][]file{{{name: "bin/app.wasm", content: good}, {name: "bin/app.wasm", content: "/etc/passwd", kind: tar.TypeSymlink}}}, "symbolic link"},
		"a file after a link":                 {[][]file{{{name: "bin/app.wasm", content: "/etc/passwd", kind: tar.TypeSymlink}, {name: "bin/app.wasm", content: good}}}, ""},
		"a hard link out":                     {[][]file{{{name: "bin/app.wasm", content: "../../../etc/passwd", kind: tar.TypeLink}}}, "hard link"},
		"a device":                            {[][]file{{{name: "bin/app.wasm", kind: tar.TypeBlock}}}, "a device"},
		"a pipe":                              {[][]file{{{name: "bin/app.wasm", kind: tar.TypeFifo}}}, "a pipe"},
		"a directory":                         {[][]file{{{name: "bin/app.wasm", kind: tar.TypeDir}}}, "a directory"},
		"an ancestor that is a link":          {[][]file{{{name: "bin", content: "/usr/bin", kind: tar.TypeSymlink}, {name: "bin/app.wasm", content: good}}}, `/bin is a symbolic link to "/usr/bin"`},
		"an upper layer's link over the way":  {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: "bin", content: "/usr/bin", kind: tar.TypeSymlink}}}, "/bin is a symbolic link"},
		"a hard link over the way":            {[][]file{{{name: "bin", content: "usr", kind: tar.TypeLink}}}, "/bin is a hard link"},
		"an upper layer's file over the way":  {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: "bin", content: "a file"}}}, "/bin is no plain file: a directory"},
		"a way out":                           {[][]file{{{name: "../bin/app.wasm", content: good}}}, "leads out"},
		"a way out in the midst":              {[][]file{{{name: "x/../../bin/app.wasm", content: good}}}, "leads out"},
		"removed by an upper layer":           {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: "bin/.wh.app.wasm"}}}, "none of its layers"},
		"its directory removed":               {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: ".wh.bin"}}}, "none of its layers"},
		"everything removed":                  {[][]file{{{name: "bin/app.wasm", content: good}}, {{name: ".wh..wh..opq"}}}, "none of its layers"},
	}
	w := newWorld(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tag := strings.NewReplacer(" ", "-", "'", "").Replace(name)
			var layers [][]byte
			for _, files := range tt.layers {
				layers = append(layers, layer(t, files...))
			}
			w.image("x", tag, `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/app.wasm"]}}`, layers...)
			i, err := w.puller.Pull(context.Background(), "registry.test/x:"+tag, authn.AuthConfig{})
			switch {
			case tt.says == "" && (err != nil || i.Module != sum(wasm)):
				t.Errorf("image %+v, %v", i, err)
			case tt.says != "" && (!errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("pull: %v; want %q", err, tt.says)
			}
			w.noParts(t)
		})
	}
}

func TestZstdLayers(t *testing.T) {
	w := newWorld(t)
	plain := layer(t, file{name: "app.wasm", content: string(wasm)})
	r, done, err := decompress(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	pack := func(content []byte, window int) []byte {
		var out bytes.Buffer
		z, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
		if err == nil {
			_, err = z.Write(content)
		}
		if err = errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	config := w.blob("x", types.OCIConfigJSON, []byte(`{"config":{"Entrypoint":["/app.wasm"]}}`))
	w.manifest("x", "good", manifest(config, w.blob("x", types.OCILayerZStd, pack(raw.Bytes(), 1<<20))))
	if i := w.pull(t, "registry.test/x:good"); i.Module != sum(wasm) {
		t.Errorf("image %+v", i)
	}
	// A window of half a gigabyte is memory that the supervisor has not got.
	greedy := pack(append(bytes.Repeat(raw.Bytes(), 1), make([]byte, 2*maxWindow)...), 1<<29)
	w.manifest("x", "greedy", manifest(config, w.blob("x", types.OCILayerZStd, greedy)))
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:greedy", authn.AuthConfig{}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "window") {
		t.Errorf("greedy: %v", err)
	}
}

// TestBudgetIsTheImages: many layers do not get a limit each.
func TestBudgetIsTheImages(t *testing.T) {
	b := &budget{bytes: 3000, entries: 3}
	one := func() []byte {
		r, done, err := decompress(bytes.NewReader(layer(t, file{name: "x", content: "x"})))
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		var raw bytes.Buffer
		if _, err := raw.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		return raw.Bytes()
	}
	if _, err := findInTar(bytes.NewReader(one()), "app.wasm", b); err != nil {
		t.Fatal(err)
	}
	if _, err := findInTar(bytes.NewReader(one()), "app.wasm", b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("second layer: %v", err)
	}
	b = &budget{bytes: 1 << 20, entries: 1}
	if _, err := findInTar(bytes.NewReader(one()), "app.wasm", b); err != nil {
		t.Fatal(err)
	}
	if _, err := findInTar(bytes.NewReader(one()), "app.wasm", b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("second file: %v", err)
	}
}
