package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

const out = "openapi"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "genopenapi:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("find k8s.io/kubernetes: %w", err)
	}
	spec := filepath.Join(strings.TrimSpace(string(dir)), "api", "openapi-spec")
	if err := os.MkdirAll(filepath.Join(out, "v3"), 0o755); err != nil {
		return err
	}
	for _, path := range documents() {
		name := strings.ReplaceAll(path, "/", "__")
		doc, err := read(filepath.Join(spec, "v3", name+"_openapi.json"))
		if err != nil {
			return err
		}
		cut(doc, []string{"components", "schemas"})
		if err := write(filepath.Join(out, "v3", name+".json.gz"), doc); err != nil {
			return err
		}
	}
	return version2(filepath.Join(spec, "swagger.json"))
}

// version2 writes the one document of version 2 twice: as JSON, and as the protobuf that client-go reads.
func version2(path string) error {
	doc, err := read(path)
	if err != nil {
		return err
	}
	cut(doc, []string{"definitions"}, []string{"parameters"})
	if err := write(filepath.Join(out, "v2.json.gz"), doc); err != nil {
		return err
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	parsed, err := openapi.ParseDocument(body)
	if err != nil {
		return fmt.Errorf("parse version 2: %w", err)
	}
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return fmt.Errorf("encode version 2: %w", err)
	}
	return writeBytes(filepath.Join(out, "v2.pb.gz"), message)
}

func read(path string) (document, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var doc document
	if err := decoder.Decode(&doc); err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return doc, nil
}

func write(path string, doc document) error {
	body, err := json.Marshal(doc) // sorts keys, so that the same input gives the same bytes
	if err != nil {
		return err
	}
	return writeBytes(path, body)
}

// writeBytes gzips body into path unless that holds it already: how gzip packs may change from one Go to the next.
func writeBytes(path string, body []byte) error {
	if have, err := unzip(path); err == nil && bytes.Equal(have, body) {
		return nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(body); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func unzip(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
