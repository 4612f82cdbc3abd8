package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// stateFile is where the last known nodes are.
	stateFile = "nodes.json"
	// maxStateSize bounds what is read back: at 300 bytes a node more than 100,000 of them.
	maxStateSize = 32 << 20
)

// loadNodes reads the nodes that were known last; none when nothing was written down.
func loadNodes(dir string) ([]Node, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxStateSize {
		err = fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	if err != nil {
		return nil, fmt.Errorf("read last known nodes: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read last known nodes: %w", err)
	}
	return decodeNodes(content)
}

// decodeNodes reads what saveNodes wrote.
func decodeNodes(content []byte) ([]Node, error) {
	var nodes []Node
	if err := json.Unmarshal(content, &nodes); err != nil {
		return nil, fmt.Errorf("decode last known nodes: %w", err)
	}
	for _, n := range nodes {
		if err := checkPrefixes("pod CIDR", n.PodCIDRs); err != nil {
			return nil, fmt.Errorf("decode last known nodes: node %s: %w", n.Name, err)
		}
	}
	return nodes, nil
}

// saveNodes writes the nodes down, whole or not at all.
func saveNodes(dir string, nodes []Node) error {
	if dir == "" {
		return nil
	}
	content, err := json.Marshal(nodes)
	if err != nil {
		return fmt.Errorf("encode nodes: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make network directory: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("write nodes: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write nodes: %w", err)
	}
	return nil
}

func forgetNodes(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove last known nodes: %w", err)
	}
	return nil
}
