package stats

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{5}, 0.5, 5},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{1, 2, 3, 4, 5}, 0.9, 4.6},
	} {
		if got := Quantile(c.values, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("Quantile(%v, %v) = %v, want %v", c.values, c.q, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
	values := []float64{3, 1, 2}
	Median(values)
	if !slices.Equal(values, []float64{3, 1, 2}) {
		t.Error("Median sorted its argument")
	}
}

func TestPairTakesTurns(t *testing.T) {
	var order []string
	next := map[string]float64{"a": 10, "b": 5}
	side := func(name string) Measure {
		return func() (float64, error) {
			order = append(order, name)
			next[name]++
			return next[name], nil
		}
	}
	p, err := Pair(3, side("a"), side("b"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if !slices.Equal(p.A, []float64{11, 12, 13}) || !slices.Equal(p.B, []float64{6, 7, 8}) {
		t.Errorf("a %v, b %v", p.A, p.B)
	}
	if want := 12.0 / 7; p.Ratio() != want {
		t.Errorf("ratio %v, want %v", p.Ratio(), want)
	}
}

// TestPairIsSteadyWhereTheMachineIsNot: the machine halves its speed after two of five rounds; the ratio stays.
func TestPairIsSteadyWhereTheMachineIsNot(t *testing.T) {
	calls := 0
	side := func(speed float64) Measure {
		return func() (float64, error) {
			calls++
			if calls > 4 {
				return speed / 2, nil
			}
			return speed, nil
		}
	}
	p, err := Pair(5, side(300), side(100))
	if err != nil || p.Ratio() != 3 {
		t.Errorf("ratio %v, %v; want 3", p.Ratio(), err)
	}
}

func TestPairFails(t *testing.T) {
	bad := errors.New("bad")
	good := func() (float64, error) { return 1, nil }
	if _, err := Pair(2, good, func() (float64, error) { return 0, bad }); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	if _, err := Pair(1, good, func() (float64, error) { return 0, nil }); !errors.Is(err, errZero) {
		t.Errorf("a peer of zero: %v", err)
	}
}
