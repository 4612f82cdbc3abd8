//go:build wasip1

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// migrate is what `kubectl exec POD -- migrate WORD…` runs: it tells its words, what it reads, and a variable of the
// container's, and exits with the number of its words.
//
//go:wasmexport migrate
func migrate() int32 {
	words := os.Args[1:]
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	fmt.Printf("migrated %s with %q in %s\n", strings.Join(words, " "), in, os.Getenv("RELEASE"))
	return int32(len(words))
}
