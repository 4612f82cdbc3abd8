package machine

import (
	"io"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Init()
	if at := os.Getenv(echoEnv); at != "" {
		echo(at)
	}
	goleak.VerifyTestMain(m)
}

// echo serves until it is killed.
func echo(at string) {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// echoEnv makes the test's own binary a server at that address that gives back what it gets.
const (
	echoEnv  = "PETREL_TEST_ECHO"
	echoPort = 7
)
