package auth

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.csv")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("# who, and what for\n0123456789abcdef,ci,7,\"system:masters, builders\"\nfedcba9876543210,prometheus,8\n", 0o600)
	var log bytes.Buffer
	f, err := OpenTokenFile(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	name := func(token string) string {
		u, err := f.User(context.Background(), token)
		if err != nil {
			t.Fatal(err)
		}
		if u == nil {
			return ""
		}
		return u.Name + " " + u.UID + " " + strings.Join(u.Groups, " ")
	}
	if got := name("0123456789abcdef"); got != "ci 7 system:masters builders system:authenticated" {
		t.Fatal(got)
	}
	if got := name("fedcba9876543210"); got != "prometheus 8 system:authenticated" {
		t.Fatal(got)
	}
	if got := name("0123456789abcdeX"); got != "" {
		t.Fatal(got)
	}
	again := func() { f.mu.Lock(); f.looked = time.Time{}; f.mu.Unlock() }
	write("broken", 0o600)
	again()
	if name("0123456789abcdef") == "" || !strings.Contains(log.String(), "line 1") {
		t.Fatalf("a broken file took the tokens away, or nobody was told: %s", &log)
	}
	write("0123456789abcdee,other,9\n", 0o600)
	again()
	if name("0123456789abcdef") != "" || name("0123456789abcdee") == "" {
		t.Fatal("the file is not read again")
	}
	if strings.Contains(log.String(), "0123456789") {
		t.Fatalf("a token is in the log: %s", &log)
	}

	for content, want := range map[string]string{
		"secretsecretsecret,x":                           "line 1: want",
		"a,b,c":                                          "16 to",
		"secretsecretsecret,,c":                          "line 1: want",
		"secretsecretsecret,\"x,y":                       "line 1:",
		"\nsecretsecretsecret,a,b,c,d":                   "line 2: want",
		strings.Repeat("x", maxBearer+1) + ",a,b":        "16 to",
		"secretsecretsecret,a,b\nsecretsecretsecret,c,d": "line 2: the token stands",
		strings.Repeat("# x\n", maxTokenFile):            "more than",
	} {
		write(content, 0o600)
		if _, err := OpenTokenFile(path, slog.Default()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%.40q: got %v, want %q", content, err, want)
		}
	}
	write("0123456789abcdef,ci,7\n", 0o644)
	if _, err := OpenTokenFile(path, slog.Default()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that all can read: %v", err)
	}
	if _, err := OpenTokenFile(path+"x", slog.Default()); err == nil {
		t.Error("no file")
	}
}

func FuzzParseTokens(f *testing.F) {
	for _, s := range []string{"0123456789abcdef,ci,7,\"a,b\"\n", "", "#", "\"", "a,b,c,d,e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		users, err := parseTokens(data)
		if err != nil {
			return
		}
		for _, u := range users {
			if u.Name == "" || !u.Is(GroupAuthenticated) || u.Is(GroupUnauthenticated) {
				t.Fatalf("%+v", u)
			}
		}
	})
}
