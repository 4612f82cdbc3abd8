// Command cgi is the tests' WAGI guest: a program that finds a request in its environment and on standard input, and
// prints the response.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cgi:", err)
		os.Exit(1)
	}
	fmt.Print("Content-Type: text/plain\r\nX-Made-By: cgi\r\n")
	if os.Getenv("PATH_INFO") == "/teapot" {
		fmt.Print("Status: 418 I'm a teapot\r\n")
	}
	fmt.Print("\r\n")
	fmt.Printf("%s %s?%s\n%s", os.Getenv("REQUEST_METHOD"), os.Getenv("PATH_INFO"), os.Getenv("QUERY_STRING"), body)
}
