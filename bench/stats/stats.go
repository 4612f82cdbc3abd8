package stats

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Quantile answers the q-th quantile (0 to 1) by linear interpolation; NaN of no values. It leaves values as they are.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	place := q * float64(len(sorted)-1)
	low := int(math.Floor(place))
	high := int(math.Ceil(place))
	return sorted[low] + (sorted[high]-sorted[low])*(place-float64(low))
}

// Median is the middle value, or the mean of the two in the middle.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Measure measures one side of a pair once. More is not always better: what the number means is the caller's.
type Measure func() (float64, error)

// Paired is what rounds of two measures gave.
type Paired struct {
	A, B   []float64 // per round
	Ratios []float64 // A ÷ B per round
}

// Ratio is the median of the rounds' ratios.
func (p Paired) Ratio() float64 { return Median(p.Ratios) }

// Pair measures a and b in turns. Every second round begins with b, so that neither always meets a machine that the
// other has just warmed or tired.
func Pair(rounds int, a, b Measure) (Paired, error) {
	var p Paired
	for round := range rounds {
		first, second := a, b
		if round%2 == 1 {
			first, second = b, a
		}
		x, err := first()
		if err != nil {
			return p, fmt.Errorf("round %d: %w", round+1, err)
		}
		y, err := second()
		if err != nil {
			return p, fmt.Errorf("round %d: %w", round+1, err)
		}
		if round%2 == 1 {
			x, y = y, x
		}
		if y == 0 {
			return p, fmt.Errorf("round %d: %w", round+1, errZero)
		}
		p.A, p.B, p.Ratios = append(p.A, x), append(p.B, y), append(p.Ratios, x/y)
	}
	return p, nil
}

var errZero = errors.New("the peer measured nothing")
