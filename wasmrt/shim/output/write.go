package output

import (
	"context"
	"errors"
	"time"
)

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Write hands all that a process has printed to where containerd reads one of its streams. An empty name drops it.
func Write(ctx context.Context, name string, content []byte) (err error) {
	f, err := openSink(name)
	if f == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(past) })
	defer stop()
	_, err = f.Write(content)
	return err
}
