package volume

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveNeverDeletesThroughAMount(t *testing.T) {
	dir := needMounts(t)
	theirs := t.TempDir()
	write(t, theirs+"/f", "theirs")
	at := dir + "/volumes/with space"
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one over the other
		if err := unix.Mount(theirs, at, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := os.Open(at + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for range 2 { // the second finds nothing, and that is no error
		if err := Remove(dir + "/volumes"); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, theirs+"/f"); got != "theirs" {
		t.Errorf("it reads %q", got)
	}
}

const sampleInfo = `22 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 22 0:27 / /var/lib/a\040b\011c\134d rw,nosuid shared:3 - tmpfs tmpfs rw,size=1024k
short line
`

func TestMountPoints(t *testing.T) {
	if got := mountPoints(sampleInfo); !slices.Equal(got, []string{"/", "/var/lib/a b\tc\\d"}) {
		t.Errorf("mount points %q", got)
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add(sampleInfo)
	f.Add("\\040 \\ a b \\\\040")
	f.Fuzz(func(t *testing.T, info string) {
		if got := mountPoints(info); len(got) > strings.Count(info, "\n")+1 {
			t.Errorf("%d mount points of %d lines", len(got), strings.Count(info, "\n"))
		}
	})
}
