package wagi

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// head is what a program says before the body.
type head struct {
	status int
	header http.Header
}

// errMore says that the head has not ended yet.
var errMore = errors.New("the head has no end yet")

// parseHead reads the head at the beginning of a program's output and says where the body begins. While the head has no
// end, the error is errMore; any other says what is wrong with it.
func parseHead(out []byte) (h *head, body int, err error) {
	h = &head{header: http.Header{}}
	fields := 0
	for {
		line, rest, ended := bytes.Cut(out[body:], []byte("\n"))
		if !ended {
			if len(out) > maxHead {
				return nil, 0, fmt.Errorf("it has no empty line in its first %d bytes", maxHead)
			}
			return nil, 0, errMore
		}
		body = len(out) - len(rest)
		if body > maxHead {
			return nil, 0, fmt.Errorf("its head has more than %d bytes", maxHead)
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		if fields++; fields > maxFields {
			return nil, 0, fmt.Errorf("its head has more than %d lines", maxFields)
		}
		if err := h.add(string(line)); err != nil {
			return nil, 0, err
		}
	}
	return h, body, h.finish()
}

func (h *head) add(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !validName(name) {
		return fmt.Errorf("its line %.60q is no header field", line)
	}
	value = strings.Trim(value, " \t")
	if strings.ContainsAny(value, "\x00\r") {
		return fmt.Errorf("the value of %s has a character that no header may have", name)
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	if name != "Status" {
		h.header[name] = append(h.header[name], value)
		return nil
	}
	code, _, _ := strings.Cut(value, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 200 || status > 999 {
		return fmt.Errorf("its Status %.60q is no final status", value)
	}
	h.status = status
	return nil
}

// finish fills in the status that the head did not say.
func (h *head) finish() error {
	switch {
	case h.status != 0:
	case h.header.Get("Location") != "":
		h.status = http.StatusFound
	case len(h.header) == 0:
		return errors.New("its head is empty")
	default:
		h.status = http.StatusOK
	}
	for _, hop := range []string{"Connection", "Transfer-Encoding", "Keep-Alive", "Upgrade", "Trailer"} {
		h.header.Del(hop) // the connection is the host's
	}
	return nil
}

// validName tells whether all letters of a name may stand in one (RFC 9110, token).
func validName(name string) bool {
	if name == "" {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return true
}
