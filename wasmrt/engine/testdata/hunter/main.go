// Hunter is a reactor that changes everything it can and looks for what others have left, for the engine's tests.
package main

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"runtime"
	"strings"
	"unsafe"
)

func main() {}

var (
	served  int
	held    [][]byte
	keyed   = map[int]int{}
	lastErr error
	secrets = make(map[string]string)
)

func init() {
	for i := range 64 {
		keyed[i] = i
	}
}

// atStart is the first byte of the file that the environment names, as it was when the guest was started.
var atStart byte

func init() {
	if name := os.Getenv("READ"); name != "" {
		atStart = firstOf(name)
	}
}

func firstOf(name string) byte {
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		return 0
	}
	return b[0]
}

// read tells it.
//
//go:wasmexport read
func read() int64 { return int64(atStart) }

// look tells what a file begins with now.
//
//go:wasmexport look
func look() int64 { return int64(firstOf("/data/which")) }

// warm lets the heap reach its size.
//
//go:wasmexport warm
func warm() {
	for range 3 {
		scribble(7)
	}
	held = nil
	clear(secrets)
	served = 0
	runtime.GC()
}

// nothing is the trivial request.
//
//go:wasmexport petrel_http_v1_handle
func nothing() { served++ }

// count tells how many requests the instance has served.
//
//go:wasmexport count
func count() int64 { return int64(served) }

// scribble writes to as much as the number says, in many ways.
//
//go:wasmexport scribble
func scribble(n int64) {
	served++
	for i := range n {
		b := make([]byte, 1+(i*7919)%30000)
		for k := range b {
			b[k] = byte(served + k)
		}
		held = append(held, b)
		keyed[int(i)+served]++
		done := make(chan int)
		go func() { done <- len(b) }()
		<-done
		secrets[fmt.Sprint(i)] = fmt.Sprint(served, i)
	}
}

// leave starts goroutines that never end.
//
//go:wasmexport leave
func leave() {
	for range 20 {
		go func() {
			own := make([]byte, 4096)
			own[0] = 1
			select {}
		}()
	}
	runtime.Gosched()
}

// grow makes memory larger by the mebibytes.
//
//go:wasmexport grow
func grow(mib int64) {
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 0xa5
		}
		held = append(held, b)
	}
}

// crash traps.
//
//go:wasmexport crash
func crash() {
	var p *int
	*p = 1
}

// quit exits.
//
//go:wasmexport quit
func quit() { os.Exit(3) }

// deep recurses.
//
//go:wasmexport deep
func deep(n int64) int64 {
	if n == 0 {
		return 0
	}
	return deep(n-1) + 1
}

// spin never returns.
//
//go:wasmexport spin
func spin() {
	for {
		served++
	}
}

// open leaves a file open, whose place is in the environment.
//
//go:wasmexport open
func open() int64 {
	f, err := os.Create(os.Getenv("DIR") + "/left")
	if err != nil {
		lastErr = err
		return -1
	}
	_, _ = io.WriteString(f, "left behind")
	_ = f.Sync()
	runtime.KeepAlive(f)
	held = append(held, []byte(f.Name()))
	files = append(files, f)
	return int64(f.Fd())
}

var files []*os.File

// hide puts a secret of the number into many places.
//
//go:wasmexport hide
func hide(n uint64) {
	s := secretOf(n)
	secrets[s] = s
	for i := range 50 {
		held = append(held, []byte(strings.Repeat(s, i+1)))
	}
	go func() { held = append(held, []byte(s)); select {} }()
	runtime.Gosched()
}

func secretOf(n uint64) string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], n)
	binary.LittleEndian.PutUint64(b[8:], ^n*0x9e3779b97f4a7c15)
	return string(b[:])
}

// hunt looks through the whole memory for the secret of the number, and tells where it is; -1: nowhere. It must not have
// it itself, so it makes it a word at a time.
//
//go:wasmexport hunt
func hunt(n uint64) int64 {
	want := ^n * 0x9e3779b97f4a7c15
	end := uintptr(memorySize()) << 16
	for at := uintptr(8); at+8 <= end; at++ {
		if *(*uint64)(unsafe.Pointer(at)) == want && *(*uint64)(unsafe.Pointer(at - 8)) == n {
			return int64(at)
		}
	}
	return -1
}

// memorySize is what the memory is known to have at least; the host tells.
func memorySize() uint64 { return pages }

var pages uint64

// size tells the guest its memory's pages.
//
//go:wasmexport size
func size(n uint64) { pages = n }

// random mixes one source of randomness into a number: 0 math/rand, 1 math/rand/v2, 2 maphash, 3 the order of a map,
// 4 crypto/rand.
//
//go:wasmexport random
func random(kind int64) uint64 {
	switch kind {
	case 0:
		return rand.Uint64()
	case 1:
		return randv2.Uint64()
	case 2:
		var h maphash.Hash
		_, _ = h.WriteString("petrel")
		return h.Sum64()
	case 3:
		order, n := uint64(0), 0
		for k := range keyed {
			order = order*64 + uint64(k)
			if n++; n == 10 {
				break
			}
		}
		return order
	}
	var b [8]byte
	_, _ = crand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
