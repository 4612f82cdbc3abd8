package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeBinaries gives a folder in which both binaries are the system's sleep.
func fakeBinaries(t *testing.T) string {
	t.Helper()
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{petrelBinary, wasmrtBinary} {
		if err := os.WriteFile(filepath.Join(dir, name), sleep, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindAndKillOnlyOurOwn(t *testing.T) {
	from := fakeBinaries(t)
	mine, err := linkBinaries(from, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := linkBinaries(from, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var processes []*Process
	for _, path := range []string{filepath.Join(mine, petrelBinary), filepath.Join(mine, wasmrtBinary), filepath.Join(other, petrelBinary)} {
		p, err := startProcess("sleep", filepath.Join(t.TempDir(), "log"), path, []string{"60"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Signal(os.Kill); <-p.done })
		processes = append(processes, p)
	}

	found, err := findProcesses(mine)
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v; want two", found, err)
	}
	if err := kill9(t.Context(), mine, found); err != nil {
		t.Fatal(err)
	}
	for i, running := range []bool{false, false, true} {
		if i < 2 {
			<-processes[i].done
		}
		if processes[i].Running() != running {
			t.Errorf("process %d running: %v, want %v", i, !running, running)
		}
	}
	if left, err := findProcesses(mine); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestKillRefusesStrangers(t *testing.T) {
	bin, err := linkBinaries(fakeBinaries(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{ground: ground{bin: bin}}
	if err := c.Kill(t.Context(), os.Getpid()); err == nil {
		t.Error("a cluster killed a process that is not its own")
	}
}

func TestAddressesAreNotShared(t *testing.T) {
	a, err := claimAddresses()
	if err != nil {
		t.Fatal(err)
	}
	b, err := claimAddresses()
	if err != nil {
		t.Fatal(err)
	}
	if a.Pods == b.Pods || a.Services == b.Services || a.Pods == a.Services {
		t.Errorf("two claims: %v and %v", a, b)
	}
	if host := a.Host(7); !strings.HasSuffix(host, ".255.7") {
		t.Errorf("host %s", host)
	}
	a.release()
	b.release()
}

func TestUntilTellsTheLastAnswer(t *testing.T) {
	tries := 0
	if err := Until(t.Context(), time.Second, "three tries", func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Until(ctx, time.Minute, "the impossible", func() error { return errors.New("never") })
	if err == nil || !strings.Contains(err.Error(), "the impossible: never") {
		t.Errorf("Until says %v", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("a\nb\nc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); got != "b\nc" {
		t.Errorf("Tail is %q", got)
	}
	if got := Tail(path, 9); got != "a\nb\nc" {
		t.Errorf("Tail of more than there is: %q", got)
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x"}, {Binaries: "x"}} {
		if o.Validate() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}
