package staticpods

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxFile bounds a pod's text, as the API bounds it; maxPods those of one directory.
	maxFile = 3 << 20
	maxPods = 1000
)

// Directory is where static pods are. It is not safe for concurrent use.
type Directory struct {
	dir, node string
	files     map[string]*file
}

// file is what a file last held.
type file struct {
	size    int64
	changed time.Time
	pod     *corev1.Pod // nil while it never held one
	err     error       // why it holds none now
}

// Open names the directory; it is looked at by Read.
func Open(dir, node string) *Directory {
	return &Directory{dir: dir, node: node, files: map[string]*file{}}
}

// Read looks what is there, and reads the files that have changed. A directory that is not there holds no pods; one that
// cannot be read holds what it held. The error tells of all that was not read, and is the same until something changes.
func (d *Directory) Read() ([]*corev1.Pod, error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err = nil, nil
	}
	if err != nil {
		return d.pods(), fmt.Errorf("read static pods: %w", err)
	}
	there := map[string]bool{}
	var failed error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		there[e.Name()] = true
		if len(there) > maxPods {
			failed = errors.Join(failed, fmt.Errorf("static pod %s: there are more than %d", e.Name(), maxPods))
			continue
		}
		if err := d.look(e.Name()); err != nil {
			failed = errors.Join(failed, fmt.Errorf("static pod %s: %w", e.Name(), err))
		}
	}
	for name := range d.files {
		if !there[name] {
			delete(d.files, name)
		}
	}
	return d.pods(), failed
}

// look reads one file, if it is another than it was.
func (d *Directory) look(name string) error {
	path := filepath.Join(d.dir, name)
	info, err := os.Stat(path) // through links: Kubernetes' tools place files so
	if err != nil {
		return err
	}
	f := d.files[name]
	if f == nil {
		f = &file{}
		d.files[name] = f
	} else if f.size == info.Size() && f.changed.Equal(info.ModTime()) {
		return f.err
	}
	pod, err := d.read(path, info)
	f.size, f.changed, f.err = info.Size(), info.ModTime(), err
	if err == nil {
		f.pod = pod
	}
	return err
}

func (d *Directory) read(path string, info fs.FileInfo) (*corev1.Pod, error) {
	if !info.Mode().IsRegular() {
		return nil, errors.New("want a file")
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	content, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxFile:
		return nil, fmt.Errorf("want at most %d bytes", maxFile)
	}
	return Decode(content, d.node)
}

// pods are those of all files; of two of one name the first file's.
func (d *Directory) pods() []*corev1.Pod {
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := map[string]bool{}
	var out []*corev1.Pod
	for _, name := range names {
		p := d.files[name].pod
		if p == nil || seen[p.Namespace+"/"+p.Name] {
			continue
		}
		seen[p.Namespace+"/"+p.Name] = true
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
