// Gojq is github.com/itchyny/gojq's command as it is: jq written in Go, which was not written for Petrel.
package main

import (
	"os"

	"github.com/itchyny/gojq/cli"
)

func main() {
	os.Exit(cli.Run())
}
