package procmem

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/user"
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

// writtenKiB is what was written of the program's mappings that cannot be written now: with cgo and an external linker a page.
func writtenKiB(t *testing.T) (sum int) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	for line := range bytes.Lines(smaps) {
		fields := bytes.Fields(line)
		switch {
		case bytes.Contains(fields[0], []byte("-")):
			closed = bytes.Contains(line, []byte(exe)) && fields[1][1] == '-'
		case closed && string(fields[0]) == "Anonymous:":
			n, err := strconv.Atoi(string(fields[1]))
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

func TestProgramIsDroppedAndGoesOn(t *testing.T) {
	before, written := fileKiB(t), writtenKiB(t)
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
	if after := fileKiB(t); after >= before {
		t.Errorf("%d KiB of files before, %d after", before, after)
	}
	if after := writtenKiB(t); after != written {
		t.Errorf("%d KiB of pages that are closed to writing but were written are left of %d", after, written)
	}
	// With cgo and an external linker, as `make race` runs this too, it is a call through the dynamic linker's tables.
	if u, err := user.LookupId("0"); err != nil || u.Username != "root" {
		t.Errorf("user 0 is %v, %v", u, err)
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
	const smaps = `00400000-00a00000 r-xp 00000000 fe:00 1234 /usr/bin/petrel run
Size:               6144 kB
Rss:                4000 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00a00000-00b00000 r--p 00600000 fe:00 1234 /usr/bin/petrel run
Anonymous:             0 kB
00b00000-00b01000 r--p 00700000 fe:00 1234 /usr/bin/petrel run
Rss:                   4 kB
Anonymous:             4 kB
Swap:                  0 kB
00b01000-00b02000 r--p 00701000 fe:00 1234 /usr/bin/petrel run
Anonymous:             0 kB
Swap:                  4 kB
00b02000-00c00000 rw-p 00702000 fe:00 1234 /usr/bin/petrel run
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99 /usr/lib/other/usr/bin/petrel run
Anonymous:             0 kB
7f0000002000-7f0000003000 r--s 00000000 fe:00 1234 /usr/bin/petrel run
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:          4096 kB
nonsense
zz-yy r-xp 0 0 0 /usr/bin/petrel run
00c00000-00d00000 r--p 00600000 fe:00 1234 /usr/bin/petrel run
`
	got := programMappings([]byte(smaps), "/usr/bin/petrel run")
	if want := []mapping{{0x400000, 0xa00000}, {0xa00000, 0xb00000}, {0xc00000, 0xd00000}}; !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzProgramMappings(f *testing.F) {
	f.Add([]byte("00400000-00a00000 r-xp 00000000 fe:00 1234 /p\nAnonymous: 0 kB\nSwap: 4 kB\n"))
	f.Fuzz(func(t *testing.T, maps []byte) {
		for _, m := range programMappings(maps, "/p") {
			if m.start >= m.end {
				t.Errorf("%x", m)
			}
		}
	})
}
