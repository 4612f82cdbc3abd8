package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxTokenFile bounds the file: thousands of tokens.
	maxTokenFile = 1 << 20
	// tokenFileLook is how often the file is looked at, at most.
	tokenFileLook = time.Second
	// minStaticToken is the shortest token that is taken: shorter ones can be guessed.
	minStaticToken = 16
)

// TokenFile knows the tokens of a file, one a line, as Kubernetes' --token-auth-file has them:
//
//	token,user,uid,"group,another group"
//
// The file is read again when it has changed; one that cannot be read then leaves the tokens as they were.
type TokenFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  fileStamp
	users  map[[sha256.Size]byte]*User
}

// fileStamp tells whether a file was written since.
type fileStamp struct {
	changed time.Time
	size    int64
}

// OpenTokenFile reads the file.
func OpenTokenFile(path string, log *slog.Logger) (*TokenFile, error) {
	f := &TokenFile{path: path, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.looked = time.Now()
	return f, nil
}

// User implements Tokens.
func (f *TokenFile) User(_ context.Context, token string) (*User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= tokenFileLook {
		f.looked = now
		if err := f.read(); err != nil {
			f.log.Error("the token file cannot be read; the tokens stay as they were", "error", err)
		}
	}
	return f.users[sha256.Sum256([]byte(token))], nil
}

// read reads the file unless it is the one that was read last.
func (f *TokenFile) read() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("read token file: %w", err)
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	switch {
	case stamp == f.stamp:
		return nil
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("read token file: %s can be read by others (mode %04o): chmod 600 it", f.path, info.Mode().Perm())
	case info.Size() > maxTokenFile:
		return fmt.Errorf("read token file: %s has more than %d bytes", f.path, maxTokenFile)
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read token file: %w", err)
	}
	users, err := parseTokens(data)
	if err != nil {
		return fmt.Errorf("read token file %s: %w", f.path, err)
	}
	f.users, f.stamp = users, stamp
	return nil
}

// parseTokens reads the lines. Its errors name lines, never what is in them.
func parseTokens(data []byte) (map[[sha256.Size]byte]*User, error) {
	users := map[[sha256.Size]byte]*User{}
	lines := csv.NewReader(bytes.NewReader(data))
	lines.FieldsPerRecord, lines.Comment, lines.TrimLeadingSpace = -1, '#', true
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return users, nil
		}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			return nil, fmt.Errorf("line %d: %w", wrong.StartLine, wrong.Err)
		}
		if err != nil {
			return nil, err
		}
		line, _ := lines.FieldPos(0)
		if len(fields) < 3 || len(fields) > 4 || fields[1] == "" {
			return nil, fmt.Errorf("line %d: want token,user,uid and, if any, \"group,group\"", line)
		}
		if len(fields[0]) < minStaticToken || len(fields[0]) > maxBearer {
			return nil, fmt.Errorf("line %d: a token has %d to %d characters", line, minStaticToken, maxBearer)
		}
		var groups []string
		if len(fields) == 4 {
			for g := range strings.SplitSeq(fields[3], ",") {
				if g = strings.TrimSpace(g); g != "" {
					groups = append(groups, g)
				}
			}
		}
		sum := sha256.Sum256([]byte(fields[0]))
		if users[sum] != nil {
			return nil, fmt.Errorf("line %d: the token stands further up already", line)
		}
		users[sum] = authenticated(fields[1], fields[2], groups)
	}
}
