package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestProgramIsThePluginByNameOnly(t *testing.T) {
	t.Setenv("CNI_COMMAND", "DANCE")
	for _, tc := range []struct {
		args []string
		is   bool
		code int
	}{
		{[]string{"/usr/local/bin/petrel", "up"}, false, 0},
		{[]string{"petrel"}, false, 0},
		{[]string{"/petrel-cni/petrel"}, false, 0},
		{[]string{""}, false, 0},
		{nil, false, 0},
		{[]string{"/opt/cni/bin/" + Name}, true, 1},
		{[]string{Name}, true, 1},
		{[]string{"/opt/cni/bin/" + LoopbackName}, true, 0},
	} {
		if code, is := Main(tc.args); is != tc.is || code != tc.code {
			t.Errorf("%v is the plugin: %v, code %d", tc.args, is, code)
		}
	}
}

// TestLoopback speaks as old a version as runtimes do for it.
func TestLoopback(t *testing.T) {
	env := func(command string) func(string) string {
		return func(key string) string {
			return map[string]string{"CNI_COMMAND": command, "CNI_NETNS": "/run/netns/a", "CNI_IFNAME": "lo"}[key]
		}
	}
	for _, c := range []struct {
		command, config, want string
		code                  int
	}{
		{"ADD", `{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}`, `"cniVersion":"0.3.1"`, 0},
		{"ADD", `{`, `"code":6`, 1},
		{"VERSION", `{}`, `"0.3.1"`, 0},
		{"CHECK", `{}`, "", 0},
		{"DEL", `{}`, "", 0},
	} {
		var out bytes.Buffer
		if code := Loopback(env(c.command), strings.NewReader(c.config), &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s %s: %d, %s", c.command, c.config, code, &out)
		}
	}
}

// environment is what a runtime says of a container.
func environment(command string) func(string) string {
	return func(key string) string {
		return map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/proc/1/ns/net", "CNI_IFNAME": "eth0"}[key]
	}
}

// TestAnswersThatBreakOff has the runtime try again whatever of the worker's answer is missing, and never take half of it.
func TestAnswersThatBreakOff(t *testing.T) {
	const result = `{"cniVersion":"1.0.0","ips":[]}`
	for _, tc := range []struct {
		name, answer string
		code         int // 0: it is taken
	}{
		{"whole", "HTTP/1.0 200 OK\r\nContent-Length: 31\r\n\r\n" + result, 0},
		{"of a later HTTP", "HTTP/1.1 200 OK\r\ncontent-length:31\r\n\r\n" + result, 0},
		{"without a length", "HTTP/1.0 200 OK\r\n\r\n" + result, 0},
		{"empty", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0},
		{"nothing", "", CodeTryAgain},
		{"half a header", "HTTP/1.0 200 OK\r\nContent-Le", CodeTryAgain},
		{"half a body", "HTTP/1.0 200 OK\r\nContent-Length: 31\r\n\r\n" + result[:20], CodeTryAgain},
		{"half a body without a length", "HTTP/1.0 200 OK\r\n\r\n" + result[:20], CodeTryAgain},
		{"no HTTP", "SSH-2.0\r\n\r\n", CodeTryAgain},
		{"no number", "HTTP/1.0 OK\r\n\r\n", CodeTryAgain},
		{"an error", "HTTP/1.0 422 Unprocessable Entity\r\n\r\n" + `{"code":3,"msg":"gone"}`, CodeContainer},
		{"an error without a code", "HTTP/1.0 422 Unprocessable Entity\r\n\r\n{}", CodeFailed},
		{"another worker's", "HTTP/1.0 404 Not Found\r\n\r\nnot found", CodeFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := `{"cniVersion":"1.0.0","name":"petrel","type":"petrel-cni","socket":"` + answers(t, tc.answer) + `"}`
			var out bytes.Buffer
			code := Run(environment(Add), strings.NewReader(config), &out)
			var e Error
			if out.Len() > 0 && json.Unmarshal(out.Bytes(), &e) != nil || (code == 0) != (tc.code == 0) || e.Code != tc.code {
				t.Errorf("exit %d, printed %s; want code %d", code, &out, tc.code)
			}
			if code != 0 && e.CNIVersion != "1.0.0" {
				t.Errorf("the error is of version %q", e.CNIVersion)
			}
		})
	}
}

// answers is a worker that says the same to everybody. Its socket is answered.
func answers(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64<<10)) // a call is smaller, and comes at once
			_, _ = conn.Write([]byte(text))
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func FuzzReadAnswer(f *testing.F) {
	for _, answer := range []string{"", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 422 X\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.0\r\n\r\n", "HTTP/1. 1\r\n:\r\n\r\n"} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		status, body, err := readAnswer(raw)
		if trimmed := bytes.TrimSpace(body); err == nil && status == statusOK && len(trimmed) > 0 && !json.Valid(trimmed) {
			t.Errorf("took %q", body)
		}
	})
}

// FuzzDecodeConfig: whatever a runtime writes, the plugin answers with JSON, and takes only what it can use.
func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"petrel","type":"petrel-cni","socket":"/run/petrel/cni.sock"}`), "ADD", "c1")
	f.Add([]byte(`{"cniVersion":"1.1.0","socket":"/s","cni.dev/valid-attachments":[{"containerID":"c","ifname":"e"}]}`), "GC", "")
	f.Add([]byte(`{"cniVersion":1}`), "DEL", "../c")
	f.Add([]byte(`null`), "VERSION", "_")
	f.Add([]byte(`{"cniVersion":"1.0.0","socket":"/`+"\x00"+`"}`), "STATUS", "a b")
	f.Fuzz(func(t *testing.T, content []byte, command, container string) {
		c, err := DecodeConfig(content)
		if err == nil && (!filepath.IsAbs(c.Socket) || c.CNIVersion == "") {
			t.Errorf("took %+v", c)
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error %v is none of the specification's", err)
		}
		if isContainerID(container) && strings.ContainsAny(container, "/ \x00") {
			t.Errorf("container %q was taken", container)
		}
		if err == nil {
			return // it would dial whatever socket the input names
		}
		var out bytes.Buffer
		code := Run(environment(command), bytes.NewReader(content), &out)
		if !json.Valid(out.Bytes()) || (code == 0) != (command == Version) {
			t.Errorf("exit %d, printed %q", code, out.String())
		}
	})
}
