package controller

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/petrelrun/petrel/controlplane/api"
)

// slowClient takes a second of its clock for each read.
type slowClient struct {
	Client
	clock *clocktesting.FakeClock
}

func (c slowClient) Get(context.Context, api.Object) (api.Object, error) {
	c.clock.Step(time.Second)
	return nil, errors.New("not there")
}

func TestWaitingForTheAPIIsCountedApart(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1e9, 0))
	c := waitingClient{Client: slowClient{clock: clock}, clock: clock}
	ctx, waited := countWaiting(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _, _ = c.Get(ctx, nil) })
	group.Wait()
	_, _ = c.Get(ctx, nil)
	_, _ = c.Get(t.Context(), nil) // of no step
	if got := time.Duration(waited.Load()); got != 2*time.Second {
		t.Errorf("waited %s", got)
	}
}

func TestNextBatchedStep(t *testing.T) {
	began := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		times stepTimes
		want  time.Duration
	}{
		"quick":                         {stepTimes{took: time.Millisecond}, batchPeriod},
		"under way":                     {stepTimes{}, batchPeriod},
		"work of its own":               {stepTimes{took: 50 * time.Millisecond}, 500 * time.Millisecond},
		"waited for a disk":             {stepTimes{took: 51 * time.Millisecond, waited: 50 * time.Millisecond}, 110 * time.Millisecond},
		"waited for several at a time":  {stepTimes{took: 50 * time.Millisecond, waited: time.Second}, 100 * time.Millisecond},
		"no longer than there is a use": {stepTimes{took: time.Minute, waited: time.Minute}, maxBatchPeriod},
	} {
		c.times.began = began
		if got := c.times.next().Sub(began); got != c.want {
			t.Errorf("%s: the next step comes after %s, not %s", name, got, c.want)
		}
	}
}
