//go:build wasip1

// Command gokernels is the benchmarks' computing guest in Go: what programs spend their time with, in four small kernels,
// each of which returns a checksum.
package main

import (
	"crypto/sha256"
	"encoding/binary"
)

func main() {}

// handle makes the module an HTTP guest, which is what the engine takes for a reactor.
//
//go:wasmexport petrel_http_v1_handle
func handle() {}

// Sizes that the kernels are named after.
const (
	fibN      = 32
	hashBytes = 16 << 20
	matrixN   = 200
	sieveN    = 1_000_000
)

//go:wasmexport fib32
func fib32() int64 { return fib(fibN) }

func fib(n int64) int64 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//go:wasmexport sha256
func hash() int64 {
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i)
	}
	h := sha256.New()
	for range hashBytes / len(block) {
		h.Write(block)
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

var a, b, c [matrixN][matrixN]float64

//go:wasmexport matmul200
func matmul200() int64 {
	for i := range matrixN {
		for j := range matrixN {
			a[i][j], b[i][j] = float64(i+j), float64(i-j)
		}
	}
	for i := range matrixN {
		for j := range matrixN {
			sum := 0.0
			for k := range matrixN {
				sum += a[i][k] * b[k][j]
			}
			c[i][j] = sum
		}
	}
	return int64(c[matrixN-1][matrixN-1])
}

var composite [sieveN]bool

//go:wasmexport sieve1M
func sieve1M() int64 {
	clear(composite[:])
	primes := int64(0)
	for i := 2; i < sieveN; i++ {
		if composite[i] {
			continue
		}
		primes++
		for j := i * i; j < sieveN; j += i {
			composite[j] = true
		}
	}
	return primes
}
