package api

import "testing"

func TestParseColdStart(t *testing.T) {
	if c := ParseColdStart(`{"compileMicros":5,"cloneP99Micros":7,"abi":"wagi","snapshot":"passive_data"}`); c == nil ||
		*c != (ColdStart{CompileMicros: 5, CloneP99Micros: 7, ABI: "wagi", Snapshot: "passive_data"}) {
		t.Errorf("got %+v", c)
	}
	for _, none := range []string{"", "{}", "{", `{"compileMicros":"5"}`, "null"} {
		if c := ParseColdStart(none); c != nil {
			t.Errorf("%q is read as %+v", none, c)
		}
	}
}
