package worker

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
)

// quietly has client-go log through ours, and nothing above debug: it cries out for each call to an API that is away,
// which the node's own messages tell once.
func quietly(ctx context.Context, log *slog.Logger) context.Context {
	return logr.NewContextWithSlogLogger(ctx, slog.New(quiet{log.Handler()}))
}

type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, min(level, slog.LevelDebug))
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelDebug)
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
