package wasi

import (
	"maps"
	"path"
	"strings"
	"time"
)

const (
	// ScratchPath is where each guest finds a directory of its own, in memory, unless a mount covers it.
	ScratchPath = "/tmp"
	// MaxScratchBytes bounds what it holds, in blocks: forms and temporary files fit, and a thousand instances that fill
	// theirs are the pod's memory limit's business.
	MaxScratchBytes = 64 << 20
	// MaxScratchFiles bounds its files and directories.
	MaxScratchFiles = 4096
	// scratchBlock is what a file grows by. What was never written takes none.
	scratchBlock = 16 << 10
)

// scratch is a file system in memory. It has files and directories, and no links.
type scratch struct {
	root  *memDir
	bytes int64
	files int
	inode uint64
	dirty bool // changed since the mark

	marked      *node // nil: it was empty
	markedBytes int64
	markedFiles int
}

// node is a file or a directory.
type node struct {
	ino        uint64
	parent     *node // of a directory
	children   map[string]*node
	blocks     map[int64]*[scratchBlock]byte
	size       int64
	atim, mtim int64
	opens      int
	linked     bool
}

func (n *node) isDir() bool { return n.children != nil }

func newScratch() *scratch {
	s := &scratch{}
	n := s.newNode(true)
	n.linked = true
	s.root = &memDir{fs: s, node: n}
	return s
}

func (s *scratch) newNode(dir bool) *node {
	s.inode++
	now := time.Now().UnixNano()
	n := &node{ino: s.inode, atim: now, mtim: now}
	if dir {
		n.children = map[string]*node{}
	}
	return n
}

// add puts a new node into a directory.
func (s *scratch) add(dir *node, name string, isDir bool) (*node, Errno) {
	if s.files >= MaxScratchFiles {
		return nil, ErrnoNoSpc
	}
	if !dir.linked {
		return nil, ErrnoNoEnt // it was removed while it was open
	}
	n := s.newNode(isDir)
	s.files++
	s.attach(dir, name, n)
	return n, 0
}

func (s *scratch) attach(dir *node, name string, n *node) {
	dir.children[name] = n
	dir.mtim = time.Now().UnixNano()
	n.linked = true
	if n.isDir() {
		n.parent = dir
	}
	s.dirty = true
}

func (s *scratch) detach(dir *node, name string) {
	n := dir.children[name]
	delete(dir.children, name)
	dir.mtim = time.Now().UnixNano()
	n.linked = false
	s.dirty = true
	s.forget(n)
}

// forget frees a node that has neither a name nor a descriptor.
func (s *scratch) forget(n *node) {
	if n.linked || n.opens > 0 {
		return
	}
	s.bytes -= int64(len(n.blocks)) * scratchBlock
	n.blocks = nil
	s.files--
}

// found is where a path leads.
type found struct {
	dir  *node  // that holds it; nil for the directory that the search began in
	name string // in dir
	node *node  // nil: there is none
}

// walk follows a path from a directory. It must not lead above it.
func (s *scratch) walk(from *node, p string) (found, Errno) {
	if path.IsAbs(p) && strings.Trim(p, "/") != "" {
		return found{}, ErrnoPerm
	}
	at := found{node: from}
	var above []found
	for part := range strings.SplitSeq(strings.TrimRight(p, "/"), "/") {
		if at.node == nil {
			return found{}, ErrnoNoEnt
		}
		if !at.node.isDir() {
			return found{}, ErrnoNotDir
		}
		switch part {
		case "", ".":
		case "..":
			if len(above) == 0 {
				return found{}, ErrnoPerm
			}
			at, above = above[len(above)-1], above[:len(above)-1]
		default:
			if len(part) > maxName {
				return found{}, ErrnoNameTooLong
			}
			above = append(above, at)
			at = found{dir: at.node, name: part, node: at.node.children[part]}
		}
	}
	if strings.HasSuffix(p, "/") && at.node != nil && !at.node.isDir() {
		return found{}, ErrnoNotDir
	}
	return at, 0
}

// maxName bounds one name, as most file systems do.
const maxName = 255

// mark keeps what is there for reset.
func (s *scratch) mark() {
	s.marked = nil
	if len(s.root.node.children) > 0 {
		s.marked = s.root.node.copy()
	}
	s.markedBytes, s.markedFiles = 0, 0
	if s.marked != nil {
		s.marked.count(s)
	}
	s.dirty = false
}

// reset puts back what mark kept. The root's node stays the same: descriptors have it.
func (s *scratch) reset() {
	if !s.dirty {
		return
	}
	root := s.root.node
	fresh := &node{children: map[string]*node{}, atim: root.atim, mtim: root.mtim}
	if s.marked != nil {
		fresh = s.marked.copy()
	}
	root.children, root.atim, root.mtim = fresh.children, fresh.atim, fresh.mtim
	for _, child := range root.children {
		if child.isDir() {
			child.parent = root
		}
	}
	s.bytes, s.files = s.markedBytes, s.markedFiles
	s.dirty = false
}

func (s *scratch) clone() *scratch {
	n := newScratch()
	n.inode = s.inode
	n.marked, n.markedBytes, n.markedFiles = s.marked, s.markedBytes, s.markedFiles
	n.dirty = s.marked != nil
	n.reset()
	return n
}

// count adds up what the mark holds.
func (n *node) count(s *scratch) {
	for _, child := range n.children {
		s.markedFiles++
		s.markedBytes += int64(len(child.blocks)) * scratchBlock
		child.count(s)
	}
}

func (n *node) copy() *node {
	c := *n
	c.opens = 0
	c.children = maps.Clone(n.children)
	for name, child := range c.children {
		child = child.copy()
		if child.isDir() {
			child.parent = &c
		}
		c.children[name] = child
	}
	c.blocks = maps.Clone(n.blocks)
	for i, b := range c.blocks {
		block := *b
		c.blocks[i] = &block
	}
	return &c
}
