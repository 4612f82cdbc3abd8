package state

import (
	"bytes"
	"strconv"
)

// kind is what a line tells of.
type kind string

const (
	sandboxFirst   kind = "sandbox"
	sandboxNow     kind = "sandbox-now"
	sandboxGone    kind = "sandbox-gone"
	containerFirst kind = "container"
	containerNow   kind = "container-now"
	containerGone  kind = "container-gone"
)

func (k kind) isEnd() bool { return k == sandboxGone || k == containerGone }

func (k kind) known() bool {
	switch k {
	case sandboxFirst, sandboxNow, sandboxGone, containerFirst, containerNow, containerGone:
		return true
	default:
		return false
	}
}

// key is what a line begins with.
type key struct {
	kind               kind
	sandbox, container string // the latter for containers alone
}

func (k key) ofContainer() bool {
	return k.kind == containerFirst || k.kind == containerNow || k.kind == containerGone
}

func (k key) valid() bool {
	return k.kind.known() && ValidID(k.sandbox) && (!k.ofContainer() || ValidID(k.container))
}

// maxHead is more than a line has before its body: a kind, two ids, the body's length and the blanks between.
const maxHead = 16 + 2*IDLength + 24

// line is "kind sandbox[ container] length body": the length is the body's.
func (k key) line(body []byte) []byte {
	out := make([]byte, 0, maxHead+len(body)+1)
	out = append(append(append(out, k.kind...), ' '), k.sandbox...)
	if k.ofContainer() {
		out = append(append(out, ' '), k.container...)
	}
	out = append(strconv.AppendInt(append(out, ' '), int64(len(body)), 10), ' ')
	return append(append(out, body...), '\n')
}

// parseLine reads a line of n bytes with its end, of which head is the beginning. body is what of its body is in head; ok
// is false for a line that is not whole, or none of ours.
func parseLine(head []byte, n int) (k key, body []byte, ok bool) {
	word, rest, _ := bytes.Cut(head[:min(len(head), n)], []byte{' '})
	k.kind = kind(word)
	word, rest, _ = bytes.Cut(rest, []byte{' '})
	k.sandbox = string(word)
	if !k.kind.known() || !ValidID(k.sandbox) {
		return key{}, nil, false
	}
	if k.ofContainer() {
		word, rest, _ = bytes.Cut(rest, []byte{' '})
		if k.container = string(word); !ValidID(k.container) {
			return key{}, nil, false
		}
	}
	word, rest, ok = bytes.Cut(rest, []byte{' '})
	length, err := strconv.Atoi(string(word))
	before := len(head[:min(len(head), n)]) - len(rest)
	if !ok || err != nil || length < 0 || before+length+1 != n || k.kind.isEnd() != (length == 0) {
		return key{}, nil, false
	}
	return k, rest[:min(length, len(rest))], true
}
