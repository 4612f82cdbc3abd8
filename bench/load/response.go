package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits on what a server may send; past them it is broken, or not one.
const (
	maxHeaderLines = 100
	maxChunks      = 1 << 16
)

var errResponse = errors.New("malformed response")

// readResponse reads one HTTP/1.1 response from r, its body too, and answers its status and its body's length.
func readResponse(r *bufio.Reader) (status int, body int64, err error) {
	line, err := readLine(r)
	if err != nil {
		return 0, 0, err
	}
	if status, err = parseStatus(line); err != nil {
		return 0, 0, err
	}
	length, chunked, err := readHeader(r)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case chunked:
		body, err = discardChunks(r)
	case length >= 0:
		body, err = io.CopyN(io.Discard, r, length)
	case status == 204 || status == 304:
	default:
		err = fmt.Errorf("%w: neither length nor chunks", errResponse)
	}
	return status, body, err
}

// readLine answers a line without its end. It is valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func parseStatus(line []byte) (int, error) {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 {
		return 0, fmt.Errorf("%w: status line %q", errResponse, line)
	}
	status, err := strconv.Atoi(string(rest[:3]))
	if err != nil || status < 200 || status > 599 {
		return 0, fmt.Errorf("%w: status line %q", errResponse, line)
	}
	return status, nil
}

func readHeader(r *bufio.Reader) (length int64, chunked bool, err error) {
	length = -1
	for range maxHeaderLines {
		line, err := readLine(r)
		if err != nil {
			return 0, false, err
		}
		if len(line) == 0 {
			return length, chunked, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(value), 10, 63); err != nil || length < 0 {
				return 0, false, fmt.Errorf("%w: content length %q", errResponse, value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	return 0, false, fmt.Errorf("%w: more than %d header lines", errResponse, maxHeaderLines)
}

func discardChunks(r *bufio.Reader) (total int64, err error) {
	for range maxChunks {
		line, err := readLine(r)
		if err != nil {
			return total, err
		}
		size, err := strconv.ParseInt(string(line), 16, 32)
		if err != nil || size < 0 {
			return total, fmt.Errorf("%w: chunk size %q", errResponse, line)
		}
		if _, err := io.CopyN(io.Discard, r, size); err != nil {
			return total, err
		}
		total += size
		if line, err = readLine(r); err != nil {
			return total, err
		}
		if len(line) != 0 { // trailers are not sent unasked
			return total, fmt.Errorf("%w: %q after a chunk", errResponse, line)
		}
		if size == 0 {
			return total, nil
		}
	}
	return total, fmt.Errorf("%w: more than %d chunks", errResponse, maxChunks)
}
