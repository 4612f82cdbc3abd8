//go:build !race

package spectest

const oneOf = 1
