package cluster

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how often a condition is tried: short beside what a test waits for, long beside what asking costs.
const pollInterval = 20 * time.Millisecond

// Until tries a condition until it answers nil. When the time is up it tells what was waited for and the last answer.
func Until(ctx context.Context, limit time.Duration, what string, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait %s for %s: %w", limit, what, err)
		case <-tick.C:
		}
	}
}
