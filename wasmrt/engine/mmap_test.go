package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"golang.org/x/sys/unix"
)

// The error of too many maps says what to raise; others do not.
func TestMapsExhausted(t *testing.T) {
	if err := mapError(1, unix.ENOMEM); !errors.Is(err, ErrMaps) || !strings.Contains(err.Error(), "vm.max_map_count") {
		t.Errorf("no memory: %v", err)
	}
	if err := mapError(1, unix.EINVAL); errors.Is(err, ErrMaps) {
		t.Errorf("another error: %v", err)
	}
	// Instances stop before the kernel's limit is reached, which would end the process.
	most := maxInstanceMaps()
	defer instanceMaps.Store(instanceMaps.Swap(most))
	if _, err := newLinear(&module.Info{}, module.PageSize, nil); !errors.Is(err, ErrMaps) {
		t.Errorf("one instance too many: %v", err)
	}
	if instanceMaps.Load() != most {
		t.Error("the refused one is counted")
	}
}
