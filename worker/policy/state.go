package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// maxStateFile bounds what is read: a hundred thousand namespaces.
const maxStateFile = 8 << 20

// savedState is what a start without the API goes by.
type savedState struct {
	Namespaces []string `json:"namespacesWithPolicies"`
}

// restore reads what the last process kept. A file that is missing or broken is as none: pods wait for the API.
func (a *Agent) restore() {
	if a.cfg.StateFile == "" {
		return
	}
	state, err := readState(a.cfg.StateFile)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			a.cfg.Logger.Warn("policies' state is of no use", "err", err)
		}
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = state.Namespaces
	a.restored = map[string]bool{}
	for _, ns := range state.Namespaces {
		a.restored[ns] = true
	}
	a.wake()
}

func readState(path string) (savedState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return savedState{}, fmt.Errorf("read policy state: %w", err)
	}
	if info.Size() > maxStateFile {
		return savedState{}, fmt.Errorf("read policy state: %d bytes, want at most %d", info.Size(), maxStateFile)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return savedState{}, fmt.Errorf("read policy state: %w", err)
	}
	return decodeState(raw)
}

func decodeState(raw []byte) (savedState, error) {
	var state savedState
	if err := json.Unmarshal(raw, &state); err != nil {
		return savedState{}, fmt.Errorf("decode policy state: %w", err)
	}
	if state.Namespaces == nil {
		return savedState{}, errors.New("decode policy state: no namespaces")
	}
	return state, nil
}

// keep writes the state file when it is to say something else.
func (a *Agent) keep() error {
	if a.cfg.StateFile == "" {
		return nil
	}
	a.mu.Lock()
	now := a.compiler.policyNamespaces()
	same := a.kept != nil && slices.Equal(now, a.kept)
	a.mu.Unlock()
	if same {
		return nil
	}
	if now == nil {
		now = []string{} // known to be none
	}
	raw, err := json.Marshal(savedState{Namespaces: now})
	if err != nil {
		return fmt.Errorf("encode policy state: %w", err)
	}
	partial := a.cfg.StateFile + ".partial"
	if err := os.WriteFile(partial, raw, 0o600); err != nil {
		return fmt.Errorf("keep policy state: %w", err)
	}
	if err := os.Rename(partial, a.cfg.StateFile); err != nil {
		return fmt.Errorf("keep policy state: %w", err)
	}
	a.mu.Lock()
	a.kept = now
	a.mu.Unlock()
	return nil
}
