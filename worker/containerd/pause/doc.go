// Package pause is the program that holds a pod's namespaces, and the image it comes in. The program is built from
// pause.c and committed, so that nobody needs a compiler, or the internet, to run containers.
package pause

//go:generate ./generate.sh
