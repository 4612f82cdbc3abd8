// Probe is a command that does what its arguments say, for the engine's tests.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "args":
		fmt.Println(strings.Join(os.Args, "|"))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "|"))
	case "upper":
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			fmt.Println(strings.ToUpper(s.Text()))
		}
	case "exit":
		code, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "leaving")
		os.Exit(code)
	case "panic":
		panic("the probe panics")
	case "eat":
		var held [][]byte
		for {
			held = append(held, make([]byte, 1<<20))
			held[len(held)-1][0] = 1
		}
	case "clock":
		start := time.Now()
		time.Sleep(30 * time.Millisecond)
		fmt.Println(start.UnixMilli(), time.Since(start).Milliseconds())
	case "random":
		b := make([]byte, 16)
		if _, err := rand.Read(b); err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(b))
	default:
		return files(args)
	}
	return nil
}

func files(args []string) error {
	switch args[0] {
	case "cat":
		b, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(b)
		return err
	case "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	case "ls":
		entries, err := os.ReadDir(args[1])
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
		return nil
	case "leak":
		for range 10 {
			if _, err := os.Open(args[1]); err != nil {
				return err
			}
		}
		os.Exit(0)
	}
	return fmt.Errorf("unknown probe %q", args[0])
}
