package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// callTimeout bounds each wait for the worker. The runtime has a limit of its own, which is usually shorter.
	callTimeout = 2 * time.Minute
	// maxAnswer bounds what the worker answers, with its header.
	maxAnswer = MaxConfig

	// The two answers that the worker gives, of HTTP's: a result, and an Error.
	statusOK     = 200
	statusFailed = 422
)

// ask hands a call to the worker.
func ask(config *Config, c *Call) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, NewError(CodeIO, "encode call: %v", err)
	}
	conn, err := dial(config.Socket)
	if err != nil {
		return nil, versioned(config, NewError(CodeTryAgain, "the worker does not answer at %s: %v", config.Socket, err))
	}
	defer conn.Close()
	raw, err := exchange(conn, body)
	if err != nil {
		return nil, versioned(config, NewError(CodeTryAgain, "the worker's answer broke off: %v", err))
	}
	status, answer, err := readAnswer(raw)
	if err != nil {
		return nil, versioned(config, NewError(CodeTryAgain, "the worker's answer broke off: %v", err))
	}
	switch status {
	case statusOK:
		return bytes.TrimSpace(answer), nil
	case statusFailed:
		e := &Error{}
		if err := json.Unmarshal(answer, e); err != nil || e.Code == 0 {
			return nil, versioned(config, NewError(CodeFailed, "the worker's answer cannot be read: %q", answer))
		}
		return nil, versioned(config, e)
	}
	return nil, versioned(config, NewError(CodeFailed, "the worker answers %d", status))
}

func versioned(config *Config, e *Error) *Error {
	e.CNIVersion = config.CNIVersion
	return e
}

// dial connects to the worker, without package net.
func dial(path string) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	limit := syscall.NsecToTimeval(callTimeout.Nanoseconds())
	err = errors.Join(
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit), // connecting too
	)
	if err == nil {
		err = connect(fd, path)
	}
	if err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// connect tries again what a signal, the runtime's own preemption among them, cut short.
func connect(fd int, path string) error {
	for {
		if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// exchange sends the call and reads all that comes back. HTTP 1.0 has the worker close the connection behind its answer,
// which comes in one piece.
func exchange(conn io.ReadWriter, body []byte) ([]byte, error) {
	head := "POST " + CallPath + " HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), body...)); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, maxAnswer))
}

// readAnswer takes an answer of HTTP 1.0 apart. One whose body is not whole is an error.
func readAnswer(raw []byte) (status int, body []byte, err error) {
	head, body, whole := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !whole {
		return 0, nil, io.ErrUnexpectedEOF
	}
	lines := strings.Split(string(head), "\r\n")
	first := strings.Fields(lines[0])
	if len(first) < 2 || !strings.HasPrefix(first[0], "HTTP/1.") {
		return 0, nil, fmt.Errorf("%q is no answer", lines[0])
	}
	if status, err = strconv.Atoi(first[1]); err != nil {
		return 0, nil, fmt.Errorf("%q is no answer", lines[0])
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Content-Length") && strings.TrimSpace(value) != strconv.Itoa(len(body)) {
			return 0, nil, io.ErrUnexpectedEOF
		}
	}
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && (status == statusOK || status == statusFailed) && !json.Valid(trimmed) {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return status, body, nil
}
