package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// petrel makes a command of the built petrel, pointed at the test's cluster and namespace.
func (w *world) petrel(args ...string) *exec.Cmd {
	global := []string{args[0], "--server", w.cluster.State.API, "--namespace", w.ns}
	cmd := exec.CommandContext(w.Context(), w.cluster.Petrel(), append(global, args[1:]...)...)
	cmd.Env = append(os.Environ(), "HOME="+w.cluster.Dir)
	return cmd
}

// cli runs petrel to its end and answers what it printed and its exit code.
func (w *world) cli(args ...string) (stdout, stderr string, code int) {
	w.Helper()
	return w.finish(w.petrel(args...))
}

func (w *world) finish(cmd *exec.Cmd) (stdout, stderr string, code int) {
	w.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// cliOK is cli where it must succeed.
func (w *world) cliOK(args ...string) string {
	w.Helper()
	out, errs, code := w.cli(args...)
	if code != 0 {
		w.Fatalf("petrel %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// values decodes the JSON values of a text, one after another: what --output json promises, whatever the command.
func (w *world) values(text string) []any {
	w.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	var out []any
	for {
		var v any
		if err := decoder.Decode(&v); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			w.Fatalf("no JSON: %v\n%s", err, text)
		}
		out = append(out, v)
	}
}

// named copies a guest to a file of the given name, from which petrel deploy takes the app's name.
func (w *world) named(name, guest string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name+".wasm")
	if err := os.WriteFile(path, w.module(guest), 0o644); err != nil {
		w.Fatal(err)
	}
	return path
}

// TestCLI deploys, lists, and removes by petrel's own commands, in words and in JSON.
func TestCLI(t *testing.T) {
	w := newWorld(t)
	hello := w.named("hello", "probe")
	contains(t, w.cliOK("deploy", hello, "--timeout", "170s"), w.appURL("hello"))
	w.get(w.appURL("hello"), 200)

	told := w.cliOK("deploy", hello, "--output", "json")
	equal(t, "version of the same bytes", parse[deployed](w, told).Version, 1)
	equal(t, "url", parse[deployed](w, told).URL, w.appURL("hello"))

	matches(t, w.cliOK("ls"), `^hello `, `1`)
	listed := w.cliOK("ls", "--output", "json")
	contains(t, listed, `"hello"`)
	if len(w.values(listed)) == 0 {
		t.Error("ls --output json prints nothing")
	}

	_, errs, code := w.cli("deploy", w.file("bad.wasm", []byte("not wasm")))
	if code == 0 || !strings.Contains(strings.ToLower(errs), "wasm") {
		t.Errorf("deploying a text: exit code %d, says %q", code, errs)
	}
	if _, _, code := w.cli("deploy", filepath.Join(t.TempDir(), "absent.wasm")); code == 0 {
		t.Error("deploying a file that is not there: exit code 0")
	}

	if len(w.values(w.cliOK("rm", "hello", "--output", "json"))) != 1 {
		t.Error("rm --output json prints no value")
	}
	lacks(t, w.cliOK("ls"), "hello")
	if _, errs, code := w.cli("rm", "hello"); code == 0 || !strings.Contains(errs, "hello") {
		t.Errorf("removing what is not there: exit code %d, says %q", code, errs)
	}
}

// TestCLILogs follows an app's log, through a new version too.
func TestCLILogs(t *testing.T) {
	w := newWorld(t)
	w.cliOK("deploy", w.named("hello", "probe"), "--timeout", "170s")
	w.get(w.appURL("hello")+"log?line=alpha", 204)
	f := w.follow(w.petrel("logs", "-f", "hello"))
	f.sees("out alpha")
	w.get(w.appURL("hello")+"log?line=beta", 204)
	f.sees("out beta")
	f.sees("err beta")
	lines := w.values(w.cliOK("logs", "hello", "--output", "json"))
	text, err := json.Marshal(lines)
	if err != nil || len(lines) < 2 {
		t.Fatalf("logs --output json: %d values, %v", len(lines), err)
	}
	contains(t, string(text), "out alpha", "out beta", "err beta")
	if _, _, code := w.cli("logs", "absent"); code == 0 {
		t.Error("logs of what is not there: exit code 0")
	}
}

// TestCLIRun runs modules once: their output and exit code are the command's.
func TestCLIRun(t *testing.T) {
	w := newWorld(t)
	task := w.modulePath("task")

	out, errs, code := w.cli("run", task, "--", "print", "two words", "complain", "aside", "exit", "42")
	equal(t, "exit code", code, 42)
	equal(t, "stdout", out, "two words\n")
	contains(t, errs, "aside")

	out, _, code = w.cli("run", task, "--", "print", "--output")
	equal(t, "exit code", code, 0)
	equal(t, "stdout of an argument that looks like a flag", out, "--output\n")

	reads := w.petrel("run", "-i", task, "--", "print", "first", "cat", "-", "print", "last", "exit", "5")
	reads.Stdin = strings.NewReader("what it is told\n")
	out, errs, code = w.finish(reads)
	equal(t, "exit code with input", code, 5)
	equal(t, "stdout with input", out, "first\nwhat it is told\nlast\n")
	equal(t, "stderr with input", errs, "")
	out, _, code = w.cli("run", "-i", task, "--", "print", "wants no input")
	equal(t, "exit code without wanting input", code, 0)
	equal(t, "stdout without wanting input", out, "wants no input\n")

	f := w.follow(w.petrel("run", task, "--", "count", "10"))
	f.sees("^line 0$")
	f.sees("^line 9$")
	if err := f.ends(); err != nil {
		t.Errorf("petrel run: %v", err)
	}

	out, _, code = w.cli("run", "--output", "json", task, "--", "print", "in json", "exit", "3")
	equal(t, "exit code with --output json", code, 3)
	contains(t, out, "in json")
	w.values(out)

	w.eventually("the pods of runs to be gone", func() error {
		if left := w.kubectl("get", "pods", "-o", "name"); left != "" {
			return &missing{what: "emptiness", in: left}
		}
		return nil
	})
	if _, _, code := w.cli("run", w.file("bad.wasm", []byte("not wasm"))); code == 0 {
		t.Error("running a text: exit code 0")
	}
}

// TestCLIKubeconfig gives the printed kubeconfig to kubectl.
func TestCLIKubeconfig(t *testing.T) {
	w := newWorld(t)
	path := w.file("kubeconfig", []byte(w.cliOK("kubeconfig")))
	cmd := exec.CommandContext(t.Context(), suite.kubectl, "--kubeconfig", path, "get", "namespace", w.ns, "-o", "name")
	cmd.Env = append(os.Environ(), "HOME="+w.cluster.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "namespace/"+w.ns+"\n" {
		t.Errorf("kubectl with petrel's kubeconfig: %v\n%s", err, out)
	}
	if len(w.values(w.cliOK("kubeconfig", "--output", "json"))) != 1 {
		t.Error("kubeconfig --output json prints no value")
	}
}
