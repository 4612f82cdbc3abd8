package controller

import "testing"

func TestIndexSet(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want string
		n    int
	}{
		{"", "", 0}, {"0", "0", 1}, {"1,0", "0,1", 2}, {"0-2,4", "0-2,4", 4}, {"3,5-7,6", "3,5-7", 4},
		{"x,-1,5-3,1-", "", 0}, {"99999999999999999999", "", 0}, {"0-100000", "", 0}, {"1,1,2,3", "1-3", 3},
	} {
		set := parseIndexes(tc.in)
		if set.String() != tc.want || set.count() != tc.n {
			t.Errorf("%q: %q with %d, want %q with %d", tc.in, set, set.count(), tc.want, tc.n)
		}
	}
}

func FuzzIndexSet(f *testing.F) {
	for _, seed := range []string{"", "0-2,4", "1,3-5", "0-99999", "-", ",,", "5-5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		set := parseIndexes(in)
		again := parseIndexes(set.String())
		if again.String() != set.String() || again.count() != set.count() {
			t.Errorf("%q reads as %q, which reads as %q", in, set, again)
		}
		for i := range set {
			if i < 0 || i >= maxCompletions {
				t.Errorf("%q has index %d", in, i)
			}
		}
	})
}
