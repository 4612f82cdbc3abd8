package http1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
)

type named struct {
	name   string
	values []string
}

// withHead answers with the fields, without a map where that is offered.
func withHead(t *testing.T, status int, fields []named) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a, ok := w.(*answer)
		if ok {
			broken := errors.New("broken")
			if err := a.WriteHeadOf(status, func(emit func(string, []string) error) error {
				return errors.Join(emit("X-Half", []string{"of it"}), broken)
			}); !errors.Is(err, broken) && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("a head that broke off: %v", err)
			}
			err := a.WriteHeadOf(status, func(emit func(string, []string) error) error {
				for _, f := range fields {
					if err := emit(f.name, f.values); err != nil {
						return err
					}
				}
				return nil
			})
			ok = err == nil
			if err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
		}
		if !ok {
			for _, f := range fields {
				w.Header()[f.name] = append(w.Header()[f.name], f.values...)
			}
			w.WriteHeader(status)
		}
		w.Header().Set("X-Late", "not sent")
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "body")
	})
}

// A head without a map is the same as with one.
func TestWriteHeadOf(t *testing.T) {
	tests := []struct {
		status int
		fields []named
	}{
		{200, nil},
		{201, []named{{"Content-Type", []string{"text/x"}}, {"X-A", []string{"1", "2"}}, {"X-B", []string{" c\r\nd "}}}},
		{200, []named{{"X-A", []string{"1"}}, {"X-A", []string{"2"}}}},
		{200, []named{{"Content-Type", nil}}},
		{200, []named{{"Content-Encoding", []string{"gzip"}}}},
		{200, []named{{"Content-Length", []string{"4"}}}},
		{200, []named{{"Date", []string{"today"}}, {"Server", []string{"x"}}}},
		{200, []named{{"Connection", []string{"close"}}}},
		{200, []named{{"Trailer", []string{"X-Late"}}}},
		{200, []named{{"Transfer-Encoding", []string{"chunked"}}}},
		{200, []named{{"Bad Name", []string{"x"}}, {"", []string{"y"}}}},
		{204, []named{{"X-A", []string{"1"}}}},
		{304, []named{{"Content-Type", []string{"text/x"}}, {"Etag", []string{`"x"`}}}},
		{999, []named{{"X-A", []string{"1"}}}},
	}
	for i, tt := range tests {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			h := withHead(t, tt.status, tt.fields)
			got := converse(t, startFront(t, h, nil).addr, get+get, 2)
			want := converse(t, startStandard(t, h).addr, get+get, 2)
			if got != want {
				t.Errorf("got\n%s\nnet/http gives\n%s", got, want)
			}
		})
	}
}
