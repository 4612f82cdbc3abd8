package wasi

import "time"

// memFile is an open file of the scratch directory.
type memFile struct {
	fs   *scratch
	node *node
}

var _ regular = (*memFile)(nil)

func (f *memFile) fileType() fileType             { return typeRegular }
func (f *memFile) stat() (filestat, Errno)        { return f.node.stat(), 0 }
func (f *memFile) setAppend(bool) Errno           { return 0 }
func (f *memFile) advise(int64, int64, int) Errno { return 0 }
func (f *memFile) sync(bool) Errno                { return 0 }
func (f *memFile) setTimes(t times) Errno         { return f.fs.setTimes(f.node, t) }

func (f *memFile) close() {
	f.node.opens--
	f.fs.forget(f.node)
}

func (n *node) stat() filestat {
	st := filestat{ino: n.ino, kind: typeRegular, nlink: 1, size: uint64(n.size), atim: n.atim, mtim: n.mtim, ctim: n.mtim}
	if n.isDir() {
		st.kind = typeDirectory
	}
	if !n.linked {
		st.nlink = 0
	}
	return st
}

func (s *scratch) setTimes(n *node, t times) Errno {
	if t.atim.set {
		n.atim = t.atim.nanos
	}
	if t.mtim.set {
		n.mtim = t.mtim.nanos
	}
	s.dirty = true
	return 0
}

func (f *memFile) readAt(p []byte, off int64) (int, Errno) {
	n := f.node
	if off >= n.size {
		return 0, 0
	}
	p = p[:min(int64(len(p)), n.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		start := at % scratchBlock
		piece := p[done:min(len(p), done+int(scratchBlock-start))]
		if b := n.blocks[at/scratchBlock]; b != nil {
			copy(piece, b[start:])
		} else {
			clear(piece)
		}
		done += len(piece)
	}
	return len(p), 0
}

func (f *memFile) writeAt(p []byte, off int64) (int, Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	if off > MaxScratchBytes-int64(len(p)) {
		if off >= MaxScratchBytes {
			return 0, ErrnoFbig
		}
		p = p[:MaxScratchBytes-off]
	}
	n := f.node
	f.fs.dirty = true
	n.mtim = time.Now().UnixNano()
	for done := 0; done < len(p); {
		at := off + int64(done)
		start := at % scratchBlock
		b, errno := f.fs.block(n, at/scratchBlock)
		if errno != 0 {
			if done > 0 {
				errno = 0
			}
			return done, errno
		}
		done += copy(b[start:], p[done:])
		n.size = max(n.size, off+int64(done))
	}
	return len(p), 0
}

// block is where a piece of the file is kept, made when there is none yet.
func (s *scratch) block(n *node, i int64) (*[scratchBlock]byte, Errno) {
	if b := n.blocks[i]; b != nil {
		return b, 0
	}
	if s.bytes+scratchBlock > MaxScratchBytes {
		return nil, ErrnoNoSpc
	}
	if n.blocks == nil {
		n.blocks = map[int64]*[scratchBlock]byte{}
	}
	b := new([scratchBlock]byte)
	n.blocks[i] = b
	s.bytes += scratchBlock
	return b, 0
}

func (f *memFile) appendTo(p []byte) (n int, end int64, errno Errno) {
	n, errno = f.writeAt(p, f.node.size)
	return n, f.node.size, errno
}

func (f *memFile) truncate(size int64) Errno {
	if size > MaxScratchBytes {
		return ErrnoFbig
	}
	n := f.node
	f.fs.dirty = true
	n.mtim = time.Now().UnixNano()
	for i, b := range n.blocks {
		switch start := i * scratchBlock; {
		case start >= size:
			delete(n.blocks, i)
			f.fs.bytes -= scratchBlock
		case size < start+scratchBlock:
			clear(b[size-start:])
		}
	}
	n.size = size
	return 0
}

func (f *memFile) allocate(off, size int64) Errno {
	if off+size > MaxScratchBytes {
		return ErrnoFbig
	}
	f.fs.dirty = true
	for i := off / scratchBlock; i*scratchBlock < off+size; i++ {
		if _, errno := f.fs.block(f.node, i); errno != 0 {
			return errno
		}
	}
	f.node.size = max(f.node.size, off+size)
	return 0
}
