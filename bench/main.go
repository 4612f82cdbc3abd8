package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/petrelrun/petrel/bench/table"
)

// page is where -write puts the table.
const page = "docs/benchmarks.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("run", ".", "measure the rows whose name matches this expression")
	write := flags.Bool("write", false, "write "+page+"; only when every row is measured")
	list := flags.Bool("list", false, "print the rows' names and bars and measure nothing")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	chosen, err := choose(rows(), *pattern)
	if err == nil && *write && len(chosen) != len(rows()) {
		err = errors.New("-write is for a run of every row: leave -run out")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if *list {
		for _, r := range chosen {
			fmt.Fprintf(stdout, "%s %s%s\n", r.name, r.direction, table.Number(r.bar))
		}
		return 0
	}
	good, err := measureAll(ctx, chosen, *write, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if !good {
		return 1
	}
	return 0
}

// choose answers the rows whose name matches.
func choose(all []row, pattern string) ([]row, error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("choose rows: %w", err)
	}
	var chosen []row
	for _, r := range all {
		if expression.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("choose rows: none matches %q", pattern)
	}
	return chosen, nil
}

// measureAll prints each row as soon as it is measured and answers whether all hold their bars.
func measureAll(ctx context.Context, chosen []row, write bool, stdout io.Writer) (good bool, err error) {
	l, err := newLab(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	good = true
	var measured []table.Row
	for _, r := range chosen {
		t := r.run(ctx, l)
		if err := t.Print(stdout); err != nil {
			return false, err
		}
		good = good && t.Good()
		measured = append(measured, t)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	if write {
		err = writePage(filepath.Join(l.tree.Root, page), measured)
	}
	return good, err
}

func writePage(path string, measured []table.Row) error {
	var b bytes.Buffer
	if err := table.Markdown(&b, machine(), measured); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
