package procmem

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// fileKiB is what this process holds of files.
func fileKiB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "RssFile:" {
			n, err := strconv.Atoi(string(fields[1]))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not tell RssFile")
	return 0
}

func TestProgramIsDroppedAndGoesOn(t *testing.T) {
	before := fileKiB(t)
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
	after := fileKiB(t)
	if after > before*2/3 {
		t.Errorf("%d KiB of files before, %d after", before, after)
	}
	// Code, constants and type information come back as they were.
	values := []string{"b", "a", "c"}
	slices.Sort(values)
	var any any = values
	if got, ok := any.([]string); !ok || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %v", any)
	}
}

func TestAfterStart(t *testing.T) {
	was := rests
	defer func() { rests = was }()
	rests = []time.Duration{time.Millisecond, 2 * time.Millisecond}
	AfterStart(t.Context(), slog.New(slog.DiscardHandler))
	rests = []time.Duration{time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	AfterStart(ctx, slog.New(slog.DiscardHandler)) // ends with its context
	Begin(t.Context(), slog.New(slog.DiscardHandler))()
}

func TestProgramMappings(t *testing.T) {
	const maps = `00400000-00a00000 r-xp 00000000 fe:00 1234 /usr/bin/petrel run
00a00000-00b00000 r--p 00600000 fe:00 1234 /usr/bin/petrel run
00b00000-00c00000 rw-p 00700000 fe:00 1234 /usr/bin/petrel run
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99 /usr/lib/other/usr/bin/petrel run
7f0000002000-7f0000003000 r--s 00000000 fe:00 1234 /usr/bin/petrel run
c000000000-c000400000 rw-p 00000000 00:00 0
nonsense
zz-yy r-xp 0 0 0 /usr/bin/petrel run
`
	got := programMappings([]byte(maps), "/usr/bin/petrel run")
	if want := []mapping{{0x400000, 0xa00000}, {0xa00000, 0xb00000}}; !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzProgramMappings(f *testing.F) {
	f.Add([]byte("00400000-00a00000 r-xp 00000000 fe:00 1234 /p\n"))
	f.Fuzz(func(t *testing.T, maps []byte) {
		for _, m := range programMappings(maps, "/p") {
			if m.start >= m.end {
				t.Errorf("%x", m)
			}
		}
	})
}
