package imagegc

import (
	"fmt"
	"time"
)

// Policy says when images go. The defaults are kubelet's.
type Policy struct {
	// High is the use of the disk, in percent, at which unused images are removed, and Low down to which; 85 and 80. High
	// at 100 removes none for the disk's sake.
	High, Low int
	// MinAge is how long an image has to have been there, so that one that was pulled for a pod to come stays; 2 minutes.
	MinAge time.Duration
	// MaxAge is how long an image may lie unused; 0: for ever.
	MaxAge time.Duration
}

// Default is the policy of a node that was told nothing else.
func Default() Policy { return Policy{High: 85, Low: 80, MinAge: 2 * time.Minute} }

// Validate reports what makes the policy unusable.
func (p *Policy) Validate() error {
	switch {
	case p.High < 1 || p.High > 100 || p.Low < 0 || p.Low > 100:
		return fmt.Errorf("image GC from %d %% of the disk down to %d %%: want percentages", p.High, p.Low)
	case p.Low >= p.High:
		return fmt.Errorf("image GC from %d %% of the disk down to %d %%: want the second to be less", p.High, p.Low)
	case p.MinAge < 0 || p.MaxAge < 0:
		return fmt.Errorf("image GC ages %v and %v: want none that is negative", p.MinAge, p.MaxAge)
	case p.MaxAge > 0 && p.MaxAge <= p.MinAge:
		return fmt.Errorf("image GC: images may lie unused for %v, and have to be kept for %v", p.MaxAge, p.MinAge)
	}
	return nil
}
