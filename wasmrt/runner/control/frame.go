package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxFrame bounds a frame in bytes. The largest are a request to create a container with its whole environment
// (MaxStrings) and a page of a listing (MaxPage statuses).
const MaxFrame = 4 << 20

// frameHeader is the length that stands before each frame.
const frameHeader = 4

// ErrFrameTooLarge is what reading or writing a frame longer than MaxFrame answers.
var ErrFrameTooLarge = errors.New("frame is larger than the protocol allows")

// Frame is a request (ID and Method), a response (ID and Result or Error) or an event (Event).
type Frame struct {
	ID     uint64          `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Event  string          `json:"event,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	Files  int             `json:"files,omitempty"` // descriptors that come with a request or a response

	files []*os.File
}

// check holds a frame to being one of the three, so that nobody acts upon a half.
func (f *Frame) check() error {
	switch {
	case f.Event != "":
		if f.ID != 0 || f.Method != "" || f.Result != nil || f.Error != nil || f.Files != 0 {
			return errors.New("an event carries nothing of a request or response")
		}
	case f.ID == 0:
		return errors.New("a request or response needs an id")
	case f.Method != "":
		if f.Result != nil || f.Error != nil {
			return errors.New("a request carries no result")
		}
	case f.Params != nil:
		return errors.New("a response carries no params")
	}
	return nil
}

// ReadFrame reads one frame. io.EOF says that the stream ended between frames.
func ReadFrame(r io.Reader) (*Frame, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > MaxFrame {
		return nil, fmt.Errorf("read frame of %d bytes: %w", size, ErrFrameTooLarge)
	}
	// Memory follows the bytes that arrive, not the length that was promised.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	if len(body) < int(size) {
		return nil, fmt.Errorf("read frame: %w", io.ErrUnexpectedEOF)
	}
	f := new(Frame)
	if err := json.Unmarshal(body, f); err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	return f, nil
}

// AppendFrame appends the encoded frame to dst.
func AppendFrame(dst []byte, f *Frame) ([]byte, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return dst, fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > MaxFrame {
		return dst, fmt.Errorf("encode frame of %d bytes: %w", len(body), ErrFrameTooLarge)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...), nil
}
