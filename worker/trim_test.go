package worker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trims atomic.Int32
		tr := &trimmer{trim: func() { trims.Add(1) }}
		work := func(n int) {
			for range n {
				tr.note()
			}
			synctest.Wait()
		}
		work(trimTurns - 1)
		time.Sleep(time.Hour)
		if trims.Load() != 0 {
			t.Fatal("trimmed after little work")
		}
		work(1)
		time.Sleep(trimRest / 2)
		work(1) // still busy
		time.Sleep(trimRest - time.Millisecond)
		if trims.Load() != 0 {
			t.Fatal("trimmed amid the work")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if trims.Load() != 1 {
			t.Fatalf("trimmed %d times after the work", trims.Load())
		}
		time.Sleep(time.Hour)
		work(trimTurns)
		tr.close()
		time.Sleep(time.Hour)
		if trims.Load() != 1 {
			t.Fatal("trimmed when nothing had been done, or after the end")
		}
	})
}
