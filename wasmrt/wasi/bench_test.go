package wasi

import (
	"testing"
)

func BenchmarkCalls(b *testing.B) {
	w := newWorld(b, Config{})
	w.SetStreams(nil, &prompt{}, nil)
	w.vector(atBuffer, 100)
	le.PutUint64(w.mem[atSubs+16:], clockMonotonic)
	for name, params := range map[string][]uint64{
		"fd_write":       {1, atVector, 1, atResult},
		"clock_time_get": {clockMonotonic, 1, atResult},
		"random_get":     {atBuffer, 16},
		"poll_oneoff":    {atSubs, atEvents, 1, atResult},
	} {
		b.Run(name, func(b *testing.B) {
			f := w.all[name]
			stack := make([]uint64, 8)
			b.ReportAllocs()
			for b.Loop() {
				copy(stack, params)
				f(w.h, w.System, w.mem, stack)
			}
		})
	}
}

func BenchmarkSystem(b *testing.B) {
	w := newWorld(b, Config{Mounts: []Mount{{HostPath: b.TempDir(), GuestPath: "/m"}}})
	b.Run("reset", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Reset()
		}
	})
	b.Run("clone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := w.Clone()
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
