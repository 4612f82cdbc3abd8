// Reactor is called again and again in instances that are reset, for the tests of package wasi.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/petrelrun/petrel/wasmrt/guest/network"
)

var visits int

// visit talks to the address in its environment, leaves the connection and a file open and another file behind.
//
//go:wasmexport petrel_http_v1_handle
func visit() {
	visits++
	conn, err := network.Dial("tcp", os.Getenv("ADDRESS"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintf(conn, "visit %d\n", visits)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		fmt.Println(err)
		return
	}
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := os.CreateTemp("", "left")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = f.WriteString("left behind")
	fmt.Printf("%sfiles %d, descriptor %d, %v\n", line, len(entries), f.Fd(), err)
}

func main() {}
