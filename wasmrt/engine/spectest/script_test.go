package spectest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// script is one of the suite's files.
type script struct {
	name     string
	dir      string
	Commands []command `json:"commands"`
}

type command struct {
	Type       string  `json:"type"`
	Line       int     `json:"line"`
	Name       string  `json:"name"`
	As         string  `json:"as"`
	Filename   string  `json:"filename"`
	ModuleType string  `json:"module_type"`
	Text       string  `json:"text"`
	Action     action  `json:"action"`
	Expected   []value `json:"expected"`
}

type action struct {
	Type   string  `json:"type"`
	Module string  `json:"module"`
	Field  string  `json:"field"`
	Args   []value `json:"args"`
}

type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

func readScript(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &script{name: strings.TrimSuffix(filepath.Base(path), ".json"), dir: filepath.Dir(path)}
	return s, json.Unmarshal(text, s)
}

func (s *script) read(file string) ([]byte, error) { return os.ReadFile(filepath.Join(s.dir, file)) }

var laneBits = map[string]int{"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}

// lanes returns the words of a value's text with their width in bits.
func (v value) lanes() (texts []string, bits int, err error) {
	if v.Type == "v128" {
		return texts, laneBits[v.Lane], json.Unmarshal(v.Value, &texts)
	}
	var text string
	if len(v.Value) > 0 {
		err = json.Unmarshal(v.Value, &text)
	}
	return []string{text}, laneBits[v.Type], err
}

// encode makes an argument: one word, or two of a vector.
func (v value) encode() ([]uint64, error) {
	texts, bits, err := v.lanes()
	if err != nil {
		return nil, err
	}
	if v.Type == "externref" || v.Type == "funcref" {
		if texts[0] == "null" {
			return []uint64{0}, nil
		}
		n, err := strconv.ParseUint(texts[0], 10, 64)
		return []uint64{n + 1}, err // zero is null to wazero
	}
	var words [2]uint64
	for i, text := range texts {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, err
		}
		words[i*bits/64] |= n << (i * bits % 64)
	}
	if v.Type == "v128" {
		return words[:], nil
	}
	return words[:1], nil
}

// match holds a result against what the script says, which of a NaN is a class.
func (v value) match(words []uint64) error {
	texts, bits, err := v.lanes()
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(texts, ""), "nan:") {
		want, err := v.encode()
		if bits == 32 && v.Type != "v128" {
			words = []uint64{words[0] & 0xffffffff} // the rest means nothing
		}
		if err == nil && fmt.Sprint(want) != fmt.Sprint(words) {
			err = fmt.Errorf("%s %x, want %x", v.Type, words, want)
		}
		return err
	}
	for i, text := range texts {
		got := words[i*bits/64] >> (i * bits % 64)
		if bits == 32 {
			got &= 1<<32 - 1
		}
		if !laneMatches(text, got, bits) {
			return fmt.Errorf("%s lane %d: %x, want %s", v.Type, i, got, text)
		}
	}
	return nil
}

func laneMatches(text string, got uint64, bits int) bool {
	quiet, payload := uint64(0x7fc00000), uint64(0x3fffff)
	if bits == 64 {
		quiet, payload = 0x7ff8000000000000, 0x7ffffffffffff
	}
	sign := uint64(1) << (bits - 1)
	switch text {
	case "nan:canonical":
		return got&^sign == quiet
	case "nan:arithmetic":
		return got&^sign&^payload == quiet
	}
	want, err := strconv.ParseUint(text, 10, 64)
	return err == nil && want == got
}
