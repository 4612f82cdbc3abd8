package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/petrelrun/petrel/cmd/petrel/client"
	_ "github.com/petrelrun/petrel/cmd/petrel/cniplugin" // where this program is a CNI plugin, nothing else of it runs
	"github.com/petrelrun/petrel/lab"
)

// version is set by the linker.
var version = "dev"

func main() {
	lab.Init() // where this program is a lab's node
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is petrel: the first Ctrl-C or SIGTERM ends what runs in order, a second one ends the process.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return client.Run(ctx, newRoot(streams{In: stdin, Out: stdout, Err: stderr}), args, stderr)
}
