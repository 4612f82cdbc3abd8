package registry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

const killedDir = "PETREL_REGISTRY_TEST_DIR"

// putUntilKilled is this test binary as a writer: it stores one module after another and prints each digest once
// PutModule has acknowledged it.
func putUntilKilled() bool {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return false
	}
	r, err := New(Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	for i := uint64(0); ; i++ {
		// A custom section with the number in it makes each module another one.
		wasm := binary.LittleEndian.AppendUint64(append(bytes.Clone(tiny), 0, 10, 1, 'n'), i)
		digest, _, err := r.PutModule(context.Background(), "default/hello", bytes.NewReader(wasm), nil)
		if err != nil {
			panic(err)
		}
		fmt.Println(digest)
	}
}

func TestAcknowledgedModulesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	const enough = 20
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == enough {
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = writer.Wait() // it was killed: that is its result
	if len(acknowledged) < enough {
		t.Fatalf("only %d puts before the writer ended", len(acknowledged))
	}
	r := open(t, dir)
	for _, digest := range acknowledged {
		_, wasm, err := r.OpenModule(t.Context(), "default/hello", digest)
		if err != nil {
			t.Errorf("lost %s: %v", digest, err)
			continue
		}
		wasm.Close()
	}
	// And the store still takes what comes.
	put(t, r, "default/hello", tiny)
}
