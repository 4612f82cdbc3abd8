package control

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	frames := []Frame{
		{ID: 1, Method: MethodPing},
		{ID: 2, Method: MethodCreate, Params: json.RawMessage(`{"id":"a"}`)},
		{ID: 2, Result: json.RawMessage(`{"state":"created"}`)},
		{ID: 3, Error: Errorf(CodeNotFound, "no container %q", "x")},
		{Event: EventStatus, Params: json.RawMessage(`{}`)},
	}
	var stream []byte
	for _, f := range frames {
		var err error
		if stream, err = AppendFrame(stream, &f); err != nil {
			t.Fatal(err)
		}
	}
	r := bytes.NewReader(stream)
	for _, want := range frames {
		got, err := ReadFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := asJSON(t, got), asJSON(t, want); g != w {
			t.Errorf("read %s, want %s", g, w)
		}
	}
	if _, err := ReadFrame(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func framed(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReadFrameRefuses(t *testing.T) {
	tests := []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"length cut", []byte{0, 0}, "unexpected EOF"},
		{"body cut", framed("{}")[:5], "unexpected EOF"},
		{"too large", []byte{0xff, 0xff, 0xff, 0xff}, "larger than the protocol allows"},
		{"no JSON", framed("hello"), "decode frame"},
		{"neither", framed("{}"), "needs an id"},
		{"request with a result", framed(`{"id":1,"method":"ping","result":1}`), "carries no result"},
		{"event with an id", framed(`{"id":1,"event":"status"}`), "an event carries nothing"},
		{"response with params", framed(`{"id":1,"params":1}`), "carries no params"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ReadFrame(bytes.NewReader(tt.bytes))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadFrame = %+v, %v; want an error with %q", f, err, tt.want)
			}
		})
	}
}

func TestAppendFrameRefusesWhatNobodyWouldRead(t *testing.T) {
	big, err := json.Marshal(strings.Repeat("x", MaxFrame))
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendFrame([]byte("kept"), &Frame{ID: 1, Method: "x", Params: big})
	if !errors.Is(err, ErrFrameTooLarge) || string(got) != "kept" {
		t.Errorf("AppendFrame = %d bytes, %v", len(got), err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(framed(`{"id":1,"method":"create","params":{"id":"a","ports":[8080]}}`))
	f.Add(framed(`{"event":"hello","params":{"protocol":1}}`))
	f.Add(framed(`{"id":9,"error":{"code":"not_found","message":"x"}}`))
	f.Add([]byte{0xff, 0, 0, 0, '{'})
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := ReadFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		if err := frame.check(); err != nil {
			t.Fatalf("accepted a frame that is none: %v", err)
		}
		var params CreateParams
		if json.Unmarshal(frame.Params, &params) == nil {
			_ = params.Validate() // must not panic
		}
		again, err := AppendFrame(nil, frame)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := ReadFrame(bytes.NewReader(again)); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
