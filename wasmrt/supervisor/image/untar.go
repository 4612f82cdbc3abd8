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
	"strings"
)

const whiteout = ".wh."

// errHidden says that an upper layer removed the file that was looked for.
var errHidden = errors.New("file was removed by an upper layer")

// findInTar reads a layer until it has the wanted regular file and hands it to take. An empty want means the only .wasm
// file there is. Nothing is ever unpacked to a path that the archive chose.
func findInTar(r io.Reader, want string, take func(name string, r io.Reader) error) (found bool, err error) {
	tr := tar.NewReader(&unpackLimit{r: r, left: MaxUnpacked})
	for entries := 0; ; entries++ {
		h, err := tr.Next()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
		}
		if entries >= MaxEntries {
			return found, fmt.Errorf("%w: a layer has more than %d files", ErrTooLarge, MaxEntries)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if hides(name, want) {
			return found, errHidden
		}
		if h.Typeflag != tar.TypeReg || !wanted(name, want) {
			continue
		}
		if found {
			return found, fmt.Errorf("%w: a layer holds several .wasm files and no entrypoint names one", ErrUnsupported)
		}
		if h.Size > MaxModule {
			return found, fmt.Errorf("%w: %s has %d bytes, at most %d are accepted", ErrTooLarge, name, h.Size, MaxModule)
		}
		if err := take(name, tr); err != nil {
			return found, err
		}
		if found = true; want != "" {
			return found, nil
		}
	}
}

func wanted(name, want string) bool {
	if want != "" {
		return name == want
	}
	return strings.HasSuffix(name, ".wasm")
}

// hides says whether a layer's entry removes want from the layers below: by its own name or that of a directory it is in.
func hides(name, want string) bool {
	dir, base := path.Split(name)
	gone, ok := strings.CutPrefix(base, whiteout)
	if !ok || want == "" {
		return false
	}
	if gone == ".wh..opq" { // everything below the directory
		return strings.HasPrefix(want, dir)
	}
	gone = path.Join(dir, gone)
	return want == gone || strings.HasPrefix(want, gone+"/")
}

// decompress answers the tar stream of a layer, which says by its first bytes whether it is compressed: media types are
// wrong too often.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: read layer: %w", ErrUnsupported, err)
	}
	return z, nil
}

// unpackLimit fails behind its limit, so that a bomb ends as an error and not as an empty layer.
type unpackLimit struct {
	r    io.Reader
	left int64
}

func (l *unpackLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("%w: a layer unpacks to more than %d bytes", ErrTooLarge, MaxUnpacked)
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}
