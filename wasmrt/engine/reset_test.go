package engine

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// imageOf makes an image of random pages and empty ones.
func imageOf(t testing.TB, size int) (*image, []byte) {
	t.Helper()
	content := make([]byte, size)
	for at := 0; at < size; at += osPage {
		if rand.IntN(3) > 0 {
			for i := range 16 {
				content[at+rand.IntN(osPage)] = byte(i + 1)
			}
		}
	}
	m, err := copyImage(content)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	return m, content
}

func TestImage(t *testing.T) {
	m, content := imageOf(t, 64*osPage)
	used := 0
	for at := 0; at < len(content); at += osPage {
		if !bytes.Equal(content[at:at+osPage], make([]byte, osPage)) {
			used++
		}
	}
	if got := m.resident(); got != uint64(used*osPage) {
		t.Errorf("%d bytes for %d pages that are not zero", got, used)
	}
	if !bytes.Equal(m.view, content) {
		t.Error("the view differs from what was copied")
	}
	if _, err := mmap(m.fd, m.size, 3 /* read and write */, 1 /* shared */); err == nil {
		t.Error("a sealed image can be mapped for writing")
	}
}

// Whatever is written, and however far memory grows, a reset restores every byte: by scanning, from the list of the last
// scan when there was no page fault, by throwing away when much was written, and where the kernel cannot scan.
func TestLinearReset(t *testing.T) {
	if pagemap() < 0 {
		t.Log("the kernel cannot scan: only wiping is tested")
	}
	m, content := imageOf(t, 4*module.PageSize)
	info := &module.Info{HasMemory: true, MemoryMinPages: 1}
	l, err := newLinear(info, 80*module.PageSize, m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	whole := make([]byte, len(l.base))
	copy(whole, content)
	quietOnes, others := 0, 0
	for round := range 3000 {
		var w window
		w.begin()
		mem := l.Reallocate(uint64(len(content)))
		if rand.IntN(3) == 0 {
			mem = l.Reallocate(uint64(5+rand.IntN(76)) * module.PageSize)
		}
		writes := rand.IntN(40)
		if rand.IntN(200) == 0 {
			writes = 3 * maxKept
		}
		for range writes {
			mem[rand.IntN(len(mem))] ^= byte(1 + rand.IntN(255))
		}
		if rand.IntN(10) == 0 {
			w.drop()
			mem[rand.IntN(len(mem))] ^= 1
		}
		quiet := w.end()
		if quiet && l.listed && writes > 0 && len(mem) == len(content) {
			quietOnes++
		} else {
			others++
		}
		if rand.IntN(10) == 0 { // as the host does between calls
			at := rand.IntN(len(content) - 8)
			clear(mem[at : at+8])
			l.wrote(uint64(at), 8)
		}
		if err := l.reset(quiet); err != nil {
			t.Fatal(err)
		}
		l.Reallocate(uint64(len(content)))
		l.settle()
		if round%50 == 0 && !bytes.Equal(l.base, whole) || !bytes.Equal(l.base[:len(content)], content) {
			t.Fatalf("round %d: the memory is not the image", round)
		}
	}
	if faultsCount() && (quietOnes == 0 || others == 0) {
		t.Errorf("%d resets went by the list and %d did not: both must be tried", quietOnes, others)
	}
}

// A window sees the first write to a page and not the second; one that was dropped knows nothing.
func TestWindow(t *testing.T) {
	if !faultsCount() {
		t.Skip("the kernel counts no page faults of threads")
	}
	m, _ := imageOf(t, 2*osPage)
	l, err := newLinear(&module.Info{}, module.PageSize, m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	_ = l.base[0] + l.base[osPage] // mapped, but the image's
	write := func(at int, drop bool) bool {
		var w window
		w.begin()
		if drop {
			w.drop()
		}
		l.base[at]++
		return w.end()
	}
	if write(0, false) {
		t.Error("the first write to a page was not seen")
	}
	if write(0, true) {
		t.Error("a window that was dropped is sure")
	}
	for range 100 { // other page faults may come in between, but not each time
		if write(0, false) {
			return
		}
	}
	t.Error("the second write to a page counts as one to a page of the image")
}

// FuzzReset is the same for any writes.
func FuzzReset(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, uint8(2))
	f.Add([]byte{255, 255, 255, 255, 0, 16, 0, 7}, uint8(9))
	f.Fuzz(func(t *testing.T, writes []byte, pages uint8) {
		m, content := imageOf(t, 2*module.PageSize)
		l, err := newLinear(&module.Info{}, 300*module.PageSize, m)
		if err != nil {
			t.Fatal(err)
		}
		defer l.release()
		mem := l.Reallocate(uint64(max(2, int(pages))) * module.PageSize)
		for ; len(writes) >= 4; writes = writes[4:] {
			at := int(writes[0])<<16 | int(writes[1])<<8 | int(writes[2])
			mem[at%len(mem)] = writes[3]
		}
		if err := l.reset(false); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mem[:len(content)], content) || !bytes.Equal(mem[len(content):], make([]byte, len(mem)-len(content))) {
			t.Error("the memory is not the image")
		}
	})
}

// newLinearOf is a memory of one page that begins with the bytes.
func newLinearOf(t *testing.T, content []byte) *linear {
	t.Helper()
	l, err := newLinear(&module.Info{}, module.PageSize, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.release() })
	copy(l.Reallocate(module.PageSize), content)
	return l
}

// Where the kernel cannot say which pages were written to, a reset is as whole.
func TestResetsWithoutScan(t *testing.T) {
	defer func(old func() int) { pagemap = old }(pagemap)
	pagemap = func() int { return -1 }
	p := newPool(t, load(t, newEngine(t), writer(0)), PoolConfig{})
	for range 300 {
		in := get(t, p)
		ask(t, in, "write", rand.Uint64())
		ask(t, in, "grow", uint64(rand.IntN(9)))
		put(t, p, in)
		requireSnapshot(t, in)
		if in.memory.kept != 0 {
			t.Fatal("pages are kept")
		}
	}
}
