package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxUpdates is the size of a file in bytes above which the next update is not added to it but replaces it.
const maxUpdates = 256 << 10

// configField is what only a first record has: a configuration is large and does not change.
const configField = "config"

// save replaces a record.
func (s *Store) save(name string, record any) error { return s.write(name, record, replaceFile) }

// create writes a record that was not there before. Nobody was told of it yet: a torn one is no loss.
func (s *Store) create(name string, record any) error { return s.write(name, record, writeFile) }

// update adds a line to a record's file. Each change of a pod's containers is one: a new file, and its rename, would cost
// as much as the change itself.
func (s *Store) update(name string, record any) error { return s.write(name, record, appendFile) }

func (s *Store) write(name string, record any, to func(path string, raw []byte) error) error {
	raw, err := json.Marshal(record)
	if err == nil {
		err = to(filepath.Join(s.root, name), raw)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}

// appendFile begins the line with its end, lest a line that was torn spoils it.
func appendFile(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte{'\n'}, raw...))
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil || info.Size() <= maxUpdates {
		return err
	}
	return shorten(path)
}

// shorten replaces a file by what its lines come to. A record that is large by itself stays as it is.
func shorten(path string) error {
	raw, err := readFile(path)
	if err != nil {
		return err
	}
	whole, err := merge(raw)
	if err != nil || len(whole) > len(raw)/2 {
		return err
	}
	return replaceFile(path, whole)
}

// merge answers the last line of a file that is whole, with the configuration of the first.
func merge(raw []byte) ([]byte, error) {
	first, rest, more := bytes.Cut(raw, []byte{'\n'})
	if !more {
		return raw, nil
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(first, &record); err != nil {
		return nil, err
	}
	config := record[configField]
	for len(rest) > 0 {
		at := bytes.LastIndexByte(rest, '\n')
		var last map[string]json.RawMessage
		if json.Unmarshal(rest[at+1:], &last) == nil && last != nil {
			record = last
			break
		}
		rest = rest[:max(at, 0)] // it was torn
	}
	record[configField] = config
	return json.Marshal(record)
}

// writeFile makes path. Its directory is made when it is missing.
func writeFile(path string, raw []byte) error {
	err := os.WriteFile(path, raw, filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), dirPerm); err == nil {
			err = os.WriteFile(path, raw, filePerm)
		}
	}
	return err
}

// replaceFile replaces path by rename.
func replaceFile(path string, raw []byte) error {
	tmp := path + ".tmp" // one writer a record: no need of a random name
	if err := writeFile(tmp, raw); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readFile reads a record of at most MaxRecord bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err == nil && len(raw) > MaxRecord {
		err = fmt.Errorf("record is larger than %d bytes", MaxRecord)
	}
	return raw, err
}
