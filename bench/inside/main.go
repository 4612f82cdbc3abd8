// Command inside measures the engine in a process of its own, where nothing else takes memory or holds the collector:
// one measurement a run, told as JSON on standard output. The bench command makes rows of it.
//
// It may import wasmrt/engine, the one room that is measured here, and wazero, which that is compared with.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// result is what a measurement found. Both sides of a pair have one number a round.
type result struct {
	Ours  []float64          `json:"ours,omitempty"`
	Peer  []float64          `json:"peer,omitempty"`
	Facts map[string]float64 `json:"facts,omitempty"`
	Notes []string           `json:"notes,omitempty"`
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *result) fact(name string, value float64) {
	if r.Facts == nil {
		r.Facts = map[string]float64{}
	}
	r.Facts[name] = value
}

// options are the flags of all measurements.
type options struct {
	module, cache string
	count         int
	kernels       []string // the arguments
}

var measurements = map[string]func(context.Context, options) (result, error){
	"reset":  measureReset,
	"clone":  measureClone,
	"live":   measureLive,
	"cached": measureCached,
	"fuel":   measureFuel,
	"loop":   measureLoop,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	var what string
	flags := flag.NewFlagSet("inside", flag.ContinueOnError)
	flags.StringVar(&what, "measure", "", "what to measure")
	flags.StringVar(&o.module, "module", "", "the guest, a reactor")
	flags.StringVar(&o.cache, "cache", "", "directory of compiled modules; empty: none")
	flags.IntVar(&o.count, "count", 0, "how many, where a measurement asks for it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.kernels = flags.Args()
	measure := measurements[what]
	if measure == nil {
		return fmt.Errorf("no measurement is called %q", what)
	}
	r, err := measure(ctx, o)
	if err != nil {
		return fmt.Errorf("measure %s: %w", what, err)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
