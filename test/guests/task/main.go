// Command task is the tests' command guest: its arguments say what it does, one verb after another.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/petrelrun/petrel/wasmrt/guest/network"
)

func main() {
	args := os.Args[1:]
	for len(args) >= 2 {
		verb, value := args[0], args[1]
		args = args[2:]
		do(verb, value)
	}
	if len(args) > 0 {
		fmt.Fprintf(os.Stderr, "task: %s needs a value\n", args[0])
		os.Exit(2)
	}
}

func do(verb, value string) {
	switch verb {
	case "print":
		fmt.Println(value)
	case "complain":
		fmt.Fprintln(os.Stderr, value)
	case "env":
		fmt.Printf("%s=%s\n", value, os.Getenv(value))
	case "exit":
		os.Exit(number(value))
	case "sleep":
		time.Sleep(time.Duration(number(value)) * time.Millisecond)
	case "count": // one line every 100 ms, so that a follower sees them come
		for i := range number(value) {
			fmt.Println("line", i)
			time.Sleep(100 * time.Millisecond)
		}
	case "read":
		raw, err := os.ReadFile(value)
		fmt.Println(string(raw), err)
	case "cat":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "dial": // tells what comes over a connection
		conn, err := network.Dial("tcp", value)
		if err == nil {
			_, err = io.Copy(os.Stdout, conn)
		}
		fmt.Println(err)
	case "spin":
		spin()
	case "allocate":
		allocate(number(value))
	default:
		fmt.Fprintf(os.Stderr, "task: unknown verb %s\n", verb)
		os.Exit(2)
	}
}

func spin() {
	for n := uint64(0); ; n++ {
		runtime.KeepAlive(n)
	}
}

func allocate(mib int) {
	block := make([]byte, mib<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = byte(i)
	}
	fmt.Println("allocated", len(block))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "task:", err)
		os.Exit(2)
	}
	return n
}
