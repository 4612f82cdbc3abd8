// Package dockerregistry runs Debian's docker-registry on loopback for tests: with TLS under an authority of its own, with
// a name and a password, and pushes to it what tests pull. A test without the program skips by name, as root it fails.
package dockerregistry
