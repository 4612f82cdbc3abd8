package store

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger gives etcd a zap logger that writes errors, and what is worse, to a slog logger. etcd's own lower levels
// tell of each start and snapshot at length.
func zapLogger(logger *slog.Logger) *zap.Logger {
	return zap.New(&slogCore{logger: logger, LevelEnabler: zapcore.ErrorLevel})
}

// slogCore is a zapcore.Core over slog.
type slogCore struct {
	zapcore.LevelEnabler
	logger *slog.Logger
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{LevelEnabler: c.LevelEnabler, logger: slog.New(c.logger.Handler().WithAttrs(attributes(fields)))}
}

// newbornMessage is an error that etcd reports in the first moments of each new data directory, and mends by itself.
const newbornMessage = "failed to update storage version"

func (c *slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) && entry.Message != newbornMessage {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	attrs := append(attributes(fields), slog.String("from", "etcd"), slog.String("message", entry.Message))
	c.logger.LogAttrs(context.Background(), slog.LevelError, "etcd reported", attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []slog.Attr {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	attrs := make([]slog.Attr, 0, len(m.Fields)+2)
	for k, v := range m.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	return attrs
}
