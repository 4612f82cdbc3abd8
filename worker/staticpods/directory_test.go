package staticpods

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type place struct {
	*testing.T
	dir   string
	clock time.Time
	*Directory
}

func newPlace(t *testing.T) *place {
	dir := t.TempDir()
	return &place{T: t, dir: dir, clock: time.Now(), Directory: Open(dir, "n")}
}

// put writes a file, each time at another time.
func (p *place) put(name, text string) {
	p.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	p.clock = p.clock.Add(time.Second)
	if err := os.Chtimes(path, p.clock, p.clock); err != nil {
		p.Fatal(err)
	}
}

func pod(name, image string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: %s}]}\n", name, image)
}

// wants looks at the directory: the pods by name and image, and what the error says.
func (p *place) wants(want, failure string) {
	p.Helper()
	pods, err := p.Read()
	var got []string
	for _, one := range pods {
		got = append(got, one.Name+"="+one.Spec.Containers[0].Image)
	}
	if strings.Join(got, " ") != want {
		p.Fatalf("pods = %v, want %s", got, want)
	}
	if (err == nil) != (failure == "") || err != nil && !strings.Contains(err.Error(), failure) {
		p.Fatalf("error = %v, want %q", err, failure)
	}
}

func TestDirectory(t *testing.T) {
	p := newPlace(t)
	p.wants("", "")
	p.put("b.yaml", pod("b", "x:1"))
	p.put("a.json", pod("a", "x:1"))
	p.put(".hidden.yaml", pod("hidden", "x:1"))
	if err := os.Mkdir(filepath.Join(p.dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.wants("a-n=x:1 b-n=x:1", "")
	p.put("a.json", pod("a", "x:2"))
	p.wants("a-n=x:2 b-n=x:1", "")

	p.put("a.json", "{")
	p.wants("a-n=x:2 b-n=x:1", "static pod a.json") // what runs goes on
	p.wants("a-n=x:2 b-n=x:1", "static pod a.json") // and the error with it
	p.put("c.yaml", "nonsense")
	p.wants("a-n=x:2 b-n=x:1", "static pod c.yaml")
	p.put("c.yaml", pod("a", "y:1")) // the same name
	p.wants("a-n=x:2 b-n=x:1", "static pod a.json")

	for _, name := range []string{"a.json", "b.yaml"} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.wants("a-n=y:1", "")
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	p.wants("", "")
}

func TestWhatIsNoFile(t *testing.T) {
	p := newPlace(t)
	p.put("real.yaml", pod("a", "x:1"))
	if err := os.Symlink(filepath.Join(p.dir, "real.yaml"), filepath.Join(p.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(p.dir, "broken.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(p.dir, "device.yaml")); err != nil {
		t.Fatal(err)
	}
	p.put("long.yaml", pod("long", "x:1")+strings.Repeat("#", maxFile))
	_, err := p.Read()
	for _, want := range []string{"broken.yaml", "device.yaml: want a file", "long.yaml: want at most"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
	if pods := p.pods(); len(pods) != 1 {
		t.Errorf("pods = %v", pods)
	}
}
