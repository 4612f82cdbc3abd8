package engine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

const examplesDir = "../../examples"

// example builds a C or Rust example; the test is skipped where their compilers are not installed.
func example(t *testing.T, name string) *Template {
	t.Helper()
	if testing.Short() {
		t.Skip("builds an example")
	}
	bin := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", examplesDir, "BIN="+bin, name).CombinedOutput()
	if err != nil {
		t.Fatalf("make %s: %v\n%s", name, err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(bin, name+".wasm"))
	if os.IsNotExist(err) {
		t.Skipf("make left it out: %s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return loadLarge(t, wasm)
}

func runExample(t *testing.T, tmpl *Template, spec Spec, args ...string) (code uint32, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	spec.Args, spec.Stdout, spec.Stderr = append([]string{"example"}, args...), &out, &errOut
	code, err := tmpl.Run(t.Context(), spec)
	if err != nil {
		t.Errorf("%q: %v", args, err)
	}
	return code, out.String(), errOut.String()
}

// dataDir is a directory with a text, a CSV and a JSON file, mounted at /data.
func dataDir(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"poem.txt":  "the petrel flies\nThe sea, the sea!\n",
		"data.csv":  "name,age,score\n\"a, \"\"b\"\"\",30,1.5\nc,40,2.5\nd,,x\n",
		"apps.json": `{"apps":[{"name":"hello","replicas":2},{"name":"httpbin","replicas":1}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Spec{Mounts: []wasi.Mount{{HostPath: dir, GuestPath: "/data", ReadOnly: true}}}
}

func TestWordcount(t *testing.T) {
	tmpl := example(t, "wordcount")
	spec := dataDir(t)
	code, out, _ := runExample(t, tmpl, spec, "-t", "2", "/data/poem.txt")
	want := "       2       7      35 /data/poem.txt\n       3 the\n       2 sea\n"
	if code != 0 || out != want {
		t.Errorf("code %d, %q, want %q", code, out, want)
	}
	spec.Stdin = strings.NewReader("one two\n")
	if code, out, _ := runExample(t, tmpl, spec); code != 0 || out != "       1       2       8 -\n" {
		t.Errorf("standard input: %d, %q", code, out)
	}
	if code, _, stderr := runExample(t, tmpl, spec, "/data/none", "/etc/passwd"); code != 1 || !strings.Contains(stderr, "/data/none: No such file") || !strings.Contains(stderr, "/etc/passwd: Capabilities") {
		t.Errorf("missing files: %d, %q", code, stderr)
	}
}

func TestCsvstat(t *testing.T) {
	tmpl := example(t, "csvstat")
	spec := dataDir(t)
	want := "age: count 2, min 30, mean 35.000, max 40\nscore: count 2, min 1.5, mean 2.000, max 2.5\n"
	if code, out, stderr := runExample(t, tmpl, spec, "/data/data.csv"); code != 0 || out != want {
		t.Errorf("code %d, %q %q, want %q", code, out, stderr, want)
	}
	if code, _, stderr := runExample(t, tmpl, spec, "/data/none.csv"); code != 1 || !strings.Contains(stderr, "/data/none.csv") {
		t.Errorf("a missing file: %d, %q", code, stderr)
	}
}

func TestGojq(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an example")
	}
	tmpl := loadLarge(t, moduletest.BuildGo(t, filepath.Join(examplesDir, "gojq"), false))
	spec := dataDir(t)
	code, out, stderr := runExample(t, tmpl, spec, "-r", ".apps | map(select(.replicas > 1).name) | join(\",\")", "/data/apps.json")
	if code != 0 || out != "hello\n" {
		t.Errorf("code %d, %q %q", code, out, stderr)
	}
	spec.Stdin = strings.NewReader("[1,2,3]")
	if code, out, _ := runExample(t, tmpl, spec, "-c", "map(. * 2)"); code != 0 || out != "[2,4,6]\n" {
		t.Errorf("standard input: %d, %q", code, out)
	}
	if code, _, stderr := runExample(t, tmpl, spec, "-n", `error("no")`); code != 5 || !strings.Contains(stderr, "no") {
		t.Errorf("an error of the program: %d, %q", code, stderr)
	}
}
