package engine

import (
	"strings"
	"testing"
)

func TestParseTrap(t *testing.T) {
	tests := []struct{ text, module, function, reason string }{
		{"wasm error: unreachable\nwasm stack trace:\n\tapp.main.crash(i32,i64) i32\n\tapp._start()", "app", "main.crash", "unreachable"},
		{"wasm error: unreachable\nwasm stack trace:\n\t.abort()\n\t.check(i32)\n\t._start()", "", "check", "unreachable"},
		{"wasm error: unreachable\nwasm stack trace:\n\t.runtime.fatalthrow.func1(i32) i32\n\t.main.(*T).Method(i32) i32", "", "main.(*T).Method", "unreachable"},
		{"wasm error: unreachable\nwasm stack trace:\n\t.runtime.throw(i32) i32\n\t.runtime.main(i32) i32", "", "runtime.throw", "unreachable"},
		{"start function[3] failed: wasm error: integer overflow\nwasm stack trace:\n\t.$3()\n\t\t0x12: /src/a.c:3:4", "", "function 3", "integer overflow"},
		{"stack overflow", "", "", "stack overflow"},
		{"boom (recovered by wazero)\nwasm stack trace:\n\t.f(f32,f64,v128,externref) (i32,i32)", "", "f", "boom"},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		trap := parseTrap(tt.text, tt.module)
		if trap.Function != tt.function || trap.Reason != tt.reason {
			t.Errorf("%q: function %q, reason %q, want %q, %q", tt.text, trap.Function, trap.Reason, tt.function, tt.reason)
		}
	}
	deep := parseTrap("wasm error: x\nwasm stack trace:\n"+strings.Repeat("\t.f()\n", 1000), "")
	if len(deep.Stack) != maxFrames {
		t.Errorf("%d frames are kept, the limit is %d", len(deep.Stack), maxFrames)
	}
}
