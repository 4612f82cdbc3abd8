package store_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDirEnv); dir != "" {
		os.Exit(write(dir))
	}
	if dir := os.Getenv(socketsDirEnv); dir != "" {
		os.Exit(tellSockets(dir))
	}
	goleak.VerifyTestMain(m)
}
