package guest

import (
	"io"
	"net/http"
	"testing"
)

func TestWarmUp(t *testing.T) {
	defer func() { warmUps, spare = nil, nil }()
	calls := 0
	WarmUp(func() { calls++ })
	WarmUp(func() { calls += 10 })
	before := logger.Writer()
	warmUp()
	if calls != 11 {
		t.Errorf("the program's own warm-ups ran %d times", calls)
	}
	if logger.Writer() != before {
		t.Error("the log goes elsewhere after it")
	}
	if spare == nil || !spare.own {
		t.Fatal("no exchange is prepared")
	}
	prepared := spare
	d := newDouble()
	serve(d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	if spare != nil || d.response.String() != "hello" || d.sends != 1 {
		t.Errorf("after it: %q in %d sends, spare %p, prepared %p", d.response.String(), d.sends, spare, prepared)
	}
	defer func() {
		if recover() == nil {
			t.Error("WarmUp takes nil")
		}
	}()
	WarmUp(nil)
}
