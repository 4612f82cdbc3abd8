package main

import (
	"encoding/binary"
	"errors"
	"net/http"

	"github.com/bytecodealliance/wasmtime-go/v39"
)

// abi is the import module of Petrel's HTTP guests.
const abi = "petrel_http_v1"

// exchange is the request that a store's guest answers.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	head []byte
}

// The numbers by which the ABI tells what went wrong.
const (
	errIO      = -3
	errInvalid = -5
)

func (x *exchange) respond(status int32, head []byte) int32 {
	if err := decodeHeader(x.w.Header(), head); err != nil {
		return errInvalid
	}
	x.w.WriteHeader(int(status))
	return 0
}

func (x *exchange) write(body []byte) int32 {
	n, err := x.w.Write(body)
	if err != nil {
		return errIO
	}
	return int32(n)
}

// defineHost defines what a guest needs to answer a request; whatever else it imports of Petrel's answers 0.
func defineHost(linker *wasmtime.Linker, module *wasmtime.Module) error {
	functions := map[string]any{
		"request_head": func(c *wasmtime.Caller, ptr, size int32) int32 {
			head := c.Data().(*exchange).head
			if int(size) >= len(head) {
				copy(memory(c, ptr, size), head)
			}
			return int32(len(head))
		},
		"response_head": func(c *wasmtime.Caller, status, ptr, size int32) int32 {
			return c.Data().(*exchange).respond(status, memory(c, ptr, size))
		},
		"response_write": func(c *wasmtime.Caller, ptr, size int32) int32 {
			return c.Data().(*exchange).write(memory(c, ptr, size))
		},
		"response_send": func(c *wasmtime.Caller, status, head, headSize, body, bodySize int32) int32 {
			x := c.Data().(*exchange)
			if code := x.respond(status, memory(c, head, headSize)); code < 0 {
				return code
			}
			return x.write(memory(c, body, bodySize))
		},
	}
	for _, i := range module.Imports() {
		f := i.Type().FuncType()
		if f == nil || i.Name() == nil || i.Module() == "wasi_snapshot_preview1" {
			continue
		}
		var err error
		if known := functions[*i.Name()]; known != nil && i.Module() == abi {
			err = linker.FuncWrap(abi, *i.Name(), known)
		} else {
			err = linker.FuncNew(i.Module(), *i.Name(), f, zero(f))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zero is a function that answers zeros.
func zero(f *wasmtime.FuncType) func(*wasmtime.Caller, []wasmtime.Val) ([]wasmtime.Val, *wasmtime.Trap) {
	var results []wasmtime.Val
	for _, r := range f.Results() {
		switch r.Kind() {
		case wasmtime.KindI64:
			results = append(results, wasmtime.ValI64(0))
		default:
			results = append(results, wasmtime.ValI32(0))
		}
	}
	return func(*wasmtime.Caller, []wasmtime.Val) ([]wasmtime.Val, *wasmtime.Trap) { return results, nil }
}

// memory is a view of the guest's memory; what is not the guest's is empty.
func memory(c *wasmtime.Caller, ptr, size int32) []byte {
	all := c.GetExport("memory").Memory().UnsafeData(c)
	begin, end := uint64(uint32(ptr)), uint64(uint32(ptr))+uint64(uint32(size))
	if end > uint64(len(all)) {
		return nil
	}
	return all[begin:end]
}

// appendHead encodes a request's head as package wire of Petrel's describes it.
func appendHead(b []byte, r *http.Request) []byte {
	for _, s := range []string{r.Method, r.RequestURI, r.Proto, r.Host, r.RemoteAddr} {
		b = appendString(b, s)
	}
	b = append(b, 0) // flags
	b = binary.AppendUvarint(b, uint64(max(r.ContentLength, -1)+1))
	b = binary.AppendUvarint(b, uint64(len(r.Header)))
	for name, values := range r.Header {
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendString(b, v)
		}
	}
	return append(b, 0) // trailers
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errShort = errors.New("decode head: it ends too early")

// decodeHeader reads a header block.
func decodeHeader(h http.Header, b []byte) error {
	number := func() (uint64, error) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errShort
		}
		b = b[n:]
		return v, nil
	}
	text := func() (string, error) {
		n, err := number()
		if err != nil || n > uint64(len(b)) {
			return "", errShort
		}
		s := string(b[:n])
		b = b[n:]
		return s, nil
	}
	fields, err := number()
	for ; err == nil && fields > 0; fields-- {
		var name, value string
		var values uint64
		if name, err = text(); err == nil {
			values, err = number()
		}
		for ; err == nil && values > 0; values-- {
			if value, err = text(); err == nil {
				h.Add(name, value)
			}
		}
	}
	return err
}
