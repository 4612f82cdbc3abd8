package compile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// Limits of the process.
const (
	// maxAddressSpace bounds what can be mapped, in bytes. Compiling takes some ten times a module's size, and the Go
	// runtime reserves more than it uses.
	maxAddressSpace = 8 << 30
	// maxCPU bounds the processor time in seconds. A Go module of 10 MB takes two.
	maxCPU = 120
)

// Refusal is the code of an error that is the module's fault and not the machine's, when package module has none for it.
const Refusal = "failed"

// Request says what to compile.
type Request struct {
	CacheDir   string
	ModulePath string
	Digest     string // that the file must have
}

// Result is the answer. Either Error is set or the rest.
type Result struct {
	Kind   string `json:"kind,omitempty"`
	Micros int64  `json:"micros"`
	Cached bool   `json:"cached"`
	Error  *Error `json:"error,omitempty"`
}

// Error says why a module is refused.
type Error struct {
	Code    string `json:"code"` // one of package module's, or Refusal
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Confine limits this process. Nothing of the module has been read before.
func Confine() error {
	for resource, limit := range map[int]uint64{unix.RLIMIT_AS: maxAddressSpace, unix.RLIMIT_CPU: maxCPU, unix.RLIMIT_CORE: 0} {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return fmt.Errorf("confine process: %w", err)
		}
		limit = min(limit, now.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("confine process: %w", err)
		}
	}
	// Raising one's own score needs no privilege. Where /proc is not writable, the kernel chooses by size, as it does.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}

// Run compiles. An error that is no Result's is the machine's: trying again may help.
func Run(ctx context.Context, r Request) (Result, error) {
	wasm, err := read(r.ModulePath)
	if err != nil {
		return Result{}, err
	}
	e, err := engine.New(ctx, engine.Config{CacheDir: r.CacheDir})
	if err != nil {
		return Result{}, err
	}
	defer e.Close()
	t, err := e.Load(ctx, wasm)
	if err != nil {
		if ctx.Err() != nil {
			return Result{}, err
		}
		return Result{Error: refusal(err)}, nil
	}
	defer t.Close()
	if got := t.Info().Digest; r.Digest != "" && got != r.Digest {
		return Result{}, fmt.Errorf("module %s has the content of %s", r.Digest, got)
	}
	return Result{Kind: string(t.Info().Kind), Micros: t.CompileTime().Microseconds(), Cached: t.Cached()}, nil
}

// Evict removes the machine code of the request's digest. It answers as Run does, so that one caller can do with both.
func Evict(ctx context.Context, r Request) (Result, error) {
	if r.Digest == "" {
		return Result{}, errors.New("evict machine code: no digest is given")
	}
	e, err := engine.New(ctx, engine.Config{CacheDir: r.CacheDir})
	if err != nil {
		return Result{}, err
	}
	defer e.Close()
	return Result{}, e.EvictCache(r.Digest)
}

func refusal(err error) *Error {
	var refused *module.Error
	if errors.As(err, &refused) {
		return &Error{Code: string(refused.Code), Field: refused.Field, Message: refused.Error()}
	}
	return &Error{Code: Refusal, Message: err.Error()}
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	wasm, err := io.ReadAll(io.LimitReader(f, module.DefaultMaxSize+1)) // more is refused with a reason by the check
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return wasm, nil
}
