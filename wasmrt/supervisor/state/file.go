package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// save replaces a file by rename. Its directory is made when it is missing.
func (s *Store) save(name string, record any) error {
	path := filepath.Join(s.root, name)
	raw, err := json.Marshal(record)
	if err == nil {
		err = writeFile(path+".tmp", raw) // one writer a record: no need of a random name
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}

func writeFile(path string, raw []byte) error {
	err := os.WriteFile(path, raw, filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), dirPerm); err == nil {
			err = os.WriteFile(path, raw, filePerm)
		}
	}
	return err
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
