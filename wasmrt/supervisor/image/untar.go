package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// errHidden says that an upper layer removed the file that was looked for.
var errHidden = errors.New("file was removed by an upper layer")

// budget is what the layers of one image may still unpack to.
type budget struct {
	bytes   int64
	entries int
}

// place is where in a layer a file was found: the number of its entry, and its path.
type place struct {
	entry int
	name  string
}

// findInTar looks where in a layer the wanted file lies. An empty want means the only .wasm file there is. As in a file
// system, the last entry of a name is the one that counts. Nothing is ever unpacked to a path that the archive chose, and
// no link is followed: what a link would lead to is not what was reviewed.
func findInTar(r io.Reader, want string, b *budget) (at *place, err error) {
	tr := tar.NewReader(&unpackLimit{r: r, left: &b.bytes})
	hidden, refused := false, error(nil)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
		}
		if b.entries--; b.entries < 0 {
			return nil, fmt.Errorf("%w: its layers have more than %d files", ErrTooLarge, MaxEntries)
		}
		name, err := entryName(h.Name)
		if err != nil {
			return nil, err
		}
		switch {
		case hides(name, want):
			hidden = true // what lies below this layer, not what is in it
		case want != "" && strings.HasPrefix(want, name+"/") && h.Typeflag != tar.TypeDir:
			return nil, notAFile(name, h, "a directory on the way to the module has to be one")
		case !wanted(name, want):
		case h.Typeflag != tar.TypeReg:
			if at, refused = nil, notAFile(name, h, "a module is read only where it lies"); want == "" {
				refused = nil // something else with that ending
			}
		case h.Size > MaxModule:
			return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are accepted", ErrTooLarge, name, h.Size, MaxModule)
		case at != nil && at.name != name:
			return nil, fmt.Errorf("%w: a layer holds several .wasm files and no entrypoint names one", ErrUnsupported)
		default:
			at, refused = &place{n, name}, nil
		}
	}
	if at == nil && refused == nil && hidden {
		return nil, errHidden
	}
	return at, refused
}

// takeFromTar hands out the file at a place of the layer that findInTar has read.
func takeFromTar(r io.Reader, at *place, take func(name string, r io.Reader) error) error {
	left := int64(MaxUnpacked)
	tr := tar.NewReader(&unpackLimit{r: r, left: &left})
	for range at.entry + 1 {
		if _, err := tr.Next(); err != nil {
			return fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
		}
	}
	return take(at.name, tr)
}

// entryName is an entry's path relative to the root.
func entryName(raw string) (string, error) {
	if slices.Contains(strings.Split(raw, "/"), "..") {
		return "", fmt.Errorf("%w: a layer holds the path %.200q, which leads out of its directory", ErrUnsupported, raw)
	}
	return strings.TrimPrefix(path.Clean("/"+raw), "/"), nil
}

var entryKinds = map[byte]string{tar.TypeSymlink: "a symbolic link", tar.TypeLink: "a hard link", tar.TypeChar: "a device", tar.TypeBlock: "a device",
	tar.TypeFifo: "a pipe", tar.TypeDir: "a directory"}

func notAFile(name string, h *tar.Header, rule string) error {
	kind := entryKinds[h.Typeflag]
	if kind == "" {
		kind = "no plain file"
	}
	if h.Linkname != "" {
		kind = fmt.Sprintf("%s to %.200q", kind, h.Linkname)
	}
	return fmt.Errorf("%w: /%s is %s: %s", ErrUnsupported, name, kind, rule)
}

func wanted(name, want string) bool {
	if want != "" {
		return name == want
	}
	return strings.HasSuffix(name, ".wasm") && !strings.HasPrefix(path.Base(name), whiteout)
}

// hides says whether a layer's entry removes want from the layers below: by its own name or that of a directory it is in.
func hides(name, want string) bool {
	dir, base := path.Split(name)
	if want == "" {
		return false
	}
	if base == opaque { // everything below the directory
		return strings.HasPrefix(want, dir)
	}
	gone, ok := strings.CutPrefix(base, whiteout)
	if !ok || gone == "" {
		return false
	}
	gone = path.Join(dir, gone)
	return want == gone || strings.HasPrefix(want, gone+"/")
}

// maxWindow bounds the memory of a zstd decoder: what RFC 8878 asks decoders to support.
const maxWindow = 8 << 20

// decompress answers the tar stream of a layer, which says by its first bytes whether it is compressed: media types are
// wrong too often. done frees what the decoder holds.
func decompress(r io.Reader) (plain io.Reader, done func(), err error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
		}
		return z, func() {}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxUnpacked), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// unpackLimit fails behind its limit, so that a bomb ends as an error and not as an empty layer.
type unpackLimit struct {
	r    io.Reader
	left *int64
}

func (l *unpackLimit) Read(p []byte) (int, error) {
	if *l.left <= 0 {
		return 0, fmt.Errorf("%w: its layers unpack to more than %d bytes", ErrTooLarge, MaxUnpacked)
	}
	if int64(len(p)) > *l.left {
		p = p[:*l.left]
	}
	n, err := l.r.Read(p)
	*l.left -= int64(n)
	return n, err
}
