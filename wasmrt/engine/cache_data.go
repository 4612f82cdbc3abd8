package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/petrelrun/petrel/wasmrt/module"
	"golang.org/x/sys/unix"
)

const (
	// segmentHeader is what stands before each segment's bytes: offset and length.
	segmentHeader = 8
	// maxGap is how many zero bytes between two segments are written out to make one of them: a Go program has thirty
	// thousand segments.
	maxGap = 64
)

// packData writes segments one after the other, neighbours joined.
func packData(segments []module.DataSegment) []byte {
	var out []byte
	ascending := apart(segments)
	head := -1 // where the current run's header is
	end := uint64(0)
	for _, s := range segments {
		gap := uint64(s.Offset) - end
		if head < 0 || !ascending || gap > maxGap {
			head = len(out)
			out = binary.LittleEndian.AppendUint32(out, s.Offset)
			out = binary.LittleEndian.AppendUint32(out, 0)
		} else {
			out = append(out, make([]byte, gap)...)
		}
		out = append(out, s.Bytes...)
		binary.LittleEndian.PutUint32(out[head+4:], uint32(len(out)-head-segmentHeader))
		end = uint64(s.Offset) + uint64(len(s.Bytes))
	}
	return out
}

// apart tells whether segments ascend without overlapping: otherwise their order matters, and what is between two of them
// need not be zero.
func apart(segments []module.DataSegment) bool {
	end := uint64(0)
	for _, s := range segments {
		if uint64(s.Offset) < end {
			return false
		}
		end = uint64(s.Offset) + uint64(len(s.Bytes))
	}
	return true
}

// unpackData returns the segments, views of the bytes.
func unpackData(b []byte) ([]module.DataSegment, error) {
	var segments []module.DataSegment
	for len(b) > 0 {
		if len(b) < segmentHeader {
			return nil, errors.New("a segment is cut off")
		}
		offset, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		b = b[segmentHeader:]
		if uint64(size) > uint64(len(b)) {
			return nil, errors.New("a segment is cut off")
		}
		segments = append(segments, module.DataSegment{Offset: offset, Bytes: b[:size:size]})
		b = b[size:]
	}
	return segments, nil
}

// mapping is a file's content as it lies in the kernel's cache: it takes no memory of its own while nobody looks at it.
type mapping []byte

func mapFile(path string) (mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return nil, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return m, nil
}

// rest lets go of the pages until they are looked at again.
func (m mapping) rest() {
	if len(m) > 0 {
		_ = unix.Madvise(m, unix.MADV_DONTNEED) // at worst they stay
	}
}

func (m mapping) close() error {
	if len(m) == 0 {
		return nil
	}
	return unix.Munmap(m)
}
