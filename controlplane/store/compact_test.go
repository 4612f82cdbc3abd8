package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestCompactEvery keeps at least the last interval, whatever the pace of writes, and goes on after a failure.
func TestCompactEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		now := func() int64 { return int64(time.Since(begin) / time.Second) } // a write a second
		var got []string
		compact := func(_ context.Context, revision int64) error {
			got = append(got, fmt.Sprint(now(), ":", revision))
			if len(got) == 2 {
				return errors.New("not now")
			}
			return nil
		}
		ended := make(chan error)
		go func() { ended <- compactEvery(ctx, 5*time.Minute, now, compact, slog.New(slog.DiscardHandler)) }()
		time.Sleep(16 * time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := "[300:0 600:300 900:600]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, not %s", got, want)
		}
	})
}

// TestQuorumShares lets many ask at once: few questions are asked, and each answer is of a question that was asked
// after its reader came.
func TestQuorumShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked int64
		q := &quorum{ask: func(context.Context) (int64, error) {
			asked++
			answer := asked
			time.Sleep(time.Second)
			return answer, nil
		}}
		answers := make(chan int64, 100)
		read := func(n int) {
			for range n {
				go func() {
					revision, err := q.read(t.Context())
					if err != nil {
						t.Error(err)
					}
					answers <- revision
				}()
			}
			synctest.Wait()
		}
		read(1)                            // is asked at once
		time.Sleep(500 * time.Millisecond) // and while it is under way
		read(50)                           // these must wait for the next
		for i := range 51 {
			if got, want := <-answers, int64(min(i+1, 2)); got != want {
				t.Errorf("reader %d was told %d, not %d", i, got, want)
			}
		}
		if asked != 2 {
			t.Errorf("%d questions were asked", asked)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := q.read(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("a reader that has gone: %v", err)
		}
		q.running.Wait()
	})
}
