package store_test

import (
	"flag"
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
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("8") // the tests wait for the disk and for deadlines more than they compute
	}
	goleak.VerifyTestMain(m)
}
