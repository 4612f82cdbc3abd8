package tasks

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// repository is where modules are named in the runtime's image store. No registry is ever asked for it.
	repository = "shim.petrel.run/modules:"
	// annotationModuleFile names the file of a module that is imported.
	annotationModuleFile = "petrel.run/module-file"
	// maxModule bounds what is read of a module; the runtime takes no larger ones.
	maxModule = 64 << 20
	// unusedFor is how long a module stays, compiled, that no container has: pods are restarted and scaled.
	unusedFor = time.Hour
)

// modules are those that the runtime has by way of this service.
type modules struct {
	images  Images
	runtime Runtime
	now     func() time.Time

	// sweeping keeps modules from being removed between their import and their container's creation.
	sweeping sync.RWMutex

	mu   sync.Mutex
	uses map[string]int
	last map[string]time.Time // when one was used last
}

func newModules(images Images, runtime Runtime, now func() time.Time) *modules {
	return &modules{images: images, runtime: runtime, now: now, uses: map[string]int{}, last: map[string]time.Time{}}
}

// use makes the module in f present in the runtime and answers its name there. It stays at least until release.
func (m *modules) use(ctx context.Context, f *os.File) (string, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.NewSectionReader(f, 0, maxModule+1))
	if err != nil {
		return "", fmt.Errorf("read module: %w", err)
	}
	if n > maxModule {
		return "", status.Errorf(codes.InvalidArgument, "the module has more than %d bytes", maxModule)
	}
	name := fmt.Sprintf("%s%x", repository, hash.Sum(nil))
	m.sweeping.RLock()
	defer m.sweeping.RUnlock()
	have, err := m.images.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: name}})
	if err != nil {
		return "", wrap(err, "look for module")
	}
	if have.GetImage() == nil {
		// The runtime opens the very file that was read, wherever its name leads to by now.
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
		_, err := m.images.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: name, Annotations: map[string]string{annotationModuleFile: path}}})
		if err != nil {
			return "", wrap(err, "import module")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uses[name]++
	return name, nil
}

// release says that a container that used a module is gone.
func (m *modules) release(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses[name]--; m.uses[name] <= 0 {
		delete(m.uses, name)
		m.last[name] = m.now()
	}
}

// sweep removes the modules that nobody has used for long. Containers of other services on the same runtime keep theirs.
func (m *modules) sweep(ctx context.Context) error {
	m.sweeping.Lock()
	defer m.sweeping.Unlock()
	images, err := m.images.ListImages(ctx, &runtimev1.ListImagesRequest{})
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	containers, err := m.runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	used := map[string]bool{}
	for _, c := range containers.GetContainers() {
		used[c.GetImage().GetImage()] = true
	}
	for _, i := range images.GetImages() {
		for _, name := range i.GetRepoTags() {
			if !strings.HasPrefix(name, repository) || used[name] || !m.stale(name) {
				continue
			}
			if _, err := m.images.RemoveImage(ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: name}}); err != nil {
				return fmt.Errorf("remove module: %w", err)
			}
		}
	}
	return nil
}

// stale says whether a module was unused for long. One that nobody here has used counts from now.
func (m *modules) stale(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses[name] > 0 {
		return false
	}
	since, seen := m.last[name]
	if !seen {
		m.last[name] = m.now()
		return false
	}
	if m.now().Sub(since) < unusedFor {
		return false
	}
	delete(m.last, name)
	return true
}
