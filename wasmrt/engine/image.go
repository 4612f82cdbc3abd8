package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// osPage is the unit in which memory is shared and told apart. Instances' memory is a multiple of it.
var osPage = os.Getpagesize()

// image is the content of a memory, in a sealed file of the kernel's that has no name. Instances map it privately: a page
// costs something only when it is written to.
type image struct {
	fd   int
	size uint64
	view []byte // of the file, not to be written to; nil when the image is empty
}

// newImage makes an image. fill writes to zeroed bytes, and pages that it leaves alone take no memory.
func newImage(size uint64, fill func(b []byte) error) (*image, error) {
	m := &image{fd: -1, size: size}
	if size == 0 {
		return m, fill(nil)
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("petrel-image", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("petrel-image", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	m.fd = fd
	if err := m.write(fill); err != nil {
		_ = m.close()
		return nil, err
	}
	return m, nil
}

func (m *image) write(fill func(b []byte) error) error {
	if err := unix.Ftruncate(m.fd, int64(m.size)); err != nil {
		return fmt.Errorf("size image: %w", err)
	}
	b, err := mmap(m.fd, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map image: %w", err)
	}
	err = fill(b)
	if unmapErr := unix.Munmap(b); err == nil {
		err = unmapErr
	}
	if err != nil {
		return err
	}
	// From now on nobody can write to it, this process included.
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(m.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal image: %w", err)
	}
	m.view, err = mmap(m.fd, m.size, unix.PROT_READ, unix.MAP_SHARED)
	return err
}

// copyImage makes an image of a memory. Pages of zeros are left out.
func copyImage(mem []byte) (*image, error) {
	return newImage(uint64(len(mem)), func(b []byte) error {
		zeros := make([]byte, osPage)
		for at := 0; at < len(mem); at += osPage {
			page := mem[at : at+osPage]
			if !bytes.Equal(page, zeros) {
				copy(b[at:], page)
			}
		}
		return nil
	})
}

// resident is the memory that the image takes, in bytes.
func (m *image) resident() uint64 {
	var st unix.Stat_t
	if m.fd < 0 || unix.Fstat(m.fd, &st) != nil {
		return 0
	}
	return uint64(st.Blocks) * 512
}

// close gives the image back. Mappings of it stay good.
func (m *image) close() error {
	if m.fd < 0 {
		return nil
	}
	var err error
	if m.view != nil {
		err = unix.Munmap(m.view)
		m.view = nil
	}
	if closeErr := unix.Close(m.fd); err == nil {
		err = closeErr
	}
	m.fd = -1
	return err
}
