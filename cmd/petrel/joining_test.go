package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const joinToken = "petrel1::0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef::abc123.secretsecretsecr"

func TestTokensAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(joinToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		flags joinFlags
		given bool
		wrong string
	}{
		"none":           {},
		"on the line":    {flags: joinFlags{Token: joinToken}, given: true},
		"in a file":      {flags: joinFlags{TokenFile: file}, given: true},
		"on stdin":       {flags: joinFlags{TokenFile: "-"}, given: true},
		"twice":          {flags: joinFlags{Token: joinToken, TokenFile: file}, wrong: "not both"},
		"in no file":     {flags: joinFlags{TokenFile: file + "x"}, wrong: "--token-file"},
		"that is none":   {flags: joinFlags{Token: "secretsecretsecr"}, wrong: "petrel token create"},
		"of half a file": {flags: joinFlags{TokenFile: os.DevNull}, wrong: "petrel token create"},
	} {
		token, given, err := tt.flags.read(strings.NewReader(joinToken))
		if given != tt.given || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v %v", name, given, err)
		}
		if given && token.String() != joinToken {
			t.Errorf("%s: another token", name)
		}
		if err != nil && strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%s: the secret is told: %v", name, err)
		}
	}
}

func TestWhereATokenIsNotSent(t *testing.T) {
	for server, wrong := range map[string]string{
		"http://10.0.0.1:8080":  "machines join over TLS only",
		"http://127.0.0.1:8080": "a token is not sent there",
		"127.0.0.1:8080":        "no URL",
	} {
		o := &workerOptions{Server: server, Join: joinFlags{Token: joinToken}}
		if _, err := joinCluster(context.Background(), o, t.TempDir(), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", server, err)
		}
	}
	plain := &workerOptions{Server: "http://127.0.0.1:8080"}
	if me, err := joinCluster(context.Background(), plain, t.TempDir(), nil, slog.New(slog.DiscardHandler)); me != nil || err != nil {
		t.Errorf("on loopback: %v %v", me, err)
	}
	secure := &workerOptions{Server: "https://127.0.0.1:1"}
	if _, err := joinCluster(context.Background(), secure, t.TempDir(), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "has not joined a cluster") {
		t.Errorf("without a token: %v", err)
	}
	if secure.NodeName == "" || secure.NodeName != strings.ToLower(secure.NodeName) {
		t.Errorf("the node is named %q", secure.NodeName)
	}
}

func TestAddressTowardsAServer(t *testing.T) {
	for _, server := range []string{"https://127.0.0.1:6443", "https://localhost:6443", "http://192.0.2.1:80", ":"} {
		if got, err := addressTowards(server); len(got) > 0 || err != nil {
			t.Errorf("%s: %v %v", server, got, err)
		}
	}
}
