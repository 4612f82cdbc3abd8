package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// streams are where a command reads and writes.
type streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

func addListenFlags(f *pflag.FlagSet, listen, gateway *string) {
	f.StringVar(listen, "listen", "127.0.0.1:8080", "where the API is served: a loopback address; port 0 takes a free one")
	f.StringVar(gateway, "gateway-listen", "127.0.0.1:8081", "where apps are served: a loopback address; port 0 takes a free one")
}

func addCIDRFlags(f *pflag.FlagSet, pods, services *string) {
	f.StringVar(pods, "pod-cidr", "127.42.0.0/16", "addresses of pods: within 127.0.0.0/8; with --network=cluster one network of each family, with a comma between")
	f.StringVar(services, "service-cidr", "127.43.0.0/16", "addresses of services: within 127.0.0.0/8; with --network=cluster beyond")
}

func addWasmrtFlags(f *pflag.FlagSet, binary *string, maxPods *int, hostPaths *[]string, registries *string) {
	f.StringArrayVar(hostPaths, "allow-host-path", nil, "directory below which hostPath volumes may lie, made when missing (may be repeated; default: pods have none)")

	f.StringVar(registries, "registry-config", "", "directory of registries' settings: HOST/hosts.toml, as containerd reads it; read for every pull (default: certs.d in the data directory)")
	f.StringVar(binary, "wasmrt", "", "the petrel-wasmrt program (default: the one beside this program, or on PATH)")
	f.IntVar(maxPods, "max-pods", 0, "pods that this node takes (default 11000)")
}

// registryDir is the directory of registries' settings, which both runtimes read.
func registryDir(named string, dir *dataDir) (string, error) {
	if named == "" {
		return dir.join("certs.d"), nil
	}
	abs, err := filepath.Abs(named)
	if err != nil {
		return "", fmt.Errorf("find directory of registries' settings: %w", err)
	}
	return abs, nil
}

// logOptions say what is logged, and where.
type logOptions struct {
	LogLevel string
	LogFile  string
}

func (o *logOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.LogFile, "log-file", "", "where the log goes; - is standard error (default: petrel.log in the data directory)")
}

// path tells where the log goes, for people.
func (o *logOptions) logPath(dir *dataDir) string {
	switch o.LogFile {
	case "":
		return dir.join("petrel.log")
	case "-":
		return "standard error"
	}
	return o.LogFile
}

// openIn takes the data directory and opens the log. done gives both back.
func (o *logOptions) openIn(dataDir string, stderr io.Writer) (dir *dataDir, logger *slog.Logger, done func(), err error) {
	if dir, err = openDataDir(dataDir); err != nil {
		return nil, nil, nil, err
	}
	logger, closeLog, err := o.open(stderr, dir.join("petrel.log"))
	if err != nil {
		dir.Close()
		return nil, nil, nil, err
	}
	return dir, logger, func() {
		closeLog()
		dir.Close()
	}, nil
}

// open makes the logger. The log goes to a file unless it is asked for, so that the terminal keeps what people read.
func (o *logOptions) open(stderr io.Writer, file string) (*slog.Logger, func(), error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return nil, nil, fmt.Errorf("--log-level: %w", err)
	}
	out, done := stderr, func() {}
	if o.LogFile != "-" {
		if o.LogFile != "" {
			file = o.LogFile
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("open log: %w", err)
		}
		out, done = f, func() { f.Close() }
	}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
	// What libraries log by themselves belongs there too.
	slog.SetDefault(logger)
	return logger, done, nil
}
