package wasmtest

import (
	"encoding/binary"
	"time"
)

const wasi = "wasi_snapshot_preview1"

// Addresses in the modules' memories.
const (
	atVector = 0    // an iovec, or two counts
	atResult = 16   // where host functions leave what they count
	atSleep  = 64   // a subscription to the clock, and behind it the event
	atText   = 256  // what is printed
	atList   = 4096 // pointers of arguments or environment
	atBuffer = 16384
)

var (
	procExit   = imported{wasi, "proc_exit", signature{params: []byte{i32}}}
	fdWrite    = imported{wasi, "fd_write", signature{[]byte{i32, i32, i32, i32}, []byte{i32}}}
	pollOneoff = imported{wasi, "poll_oneoff", signature{[]byte{i32, i32, i32, i32}, []byte{i32}}}
)

// write prints what vector (address and length, stored at atVector) names; f is fd_write's index.
func write(f int, fd int32, address, length []byte) []byte {
	return join(i32Store(atVector, address), i32Store(atVector+4, length),
		i32Const(fd), i32Const(atVector), i32Const(1), i32Const(atResult), callFunc(f), drop)
}

// sleep waits as the subscription at atSleep says; f is poll_oneoff's index.
func sleep(f int) []byte {
	return join(i32Const(atSleep), i32Const(atSleep+64), i32Const(1), i32Const(atResult), callFunc(f), drop)
}

// subscription is WASI's record for waiting on the monotonic clock.
func subscription(d time.Duration) segment {
	s := make([]byte, 48)
	binary.LittleEndian.PutUint32(s[16:], 1) // monotonic
	binary.LittleEndian.PutUint64(s[24:], uint64(d))
	return segment{atSleep, s}
}

// Print is a command that writes to stdout and stderr and exits with the code.
func Print(stdout, stderr string, code int32) []byte {
	return definition{
		imports: []imported{procExit, fdWrite},
		functions: []function{{"_start", join(
			write(1, 1, i32Const(atText), i32Const(int32(len(stdout)))),
			write(1, 2, i32Const(atText+int32(len(stdout))), i32Const(int32(len(stderr)))),
			i32Const(code), callFunc(0),
		)}},
		pages: uint64(1 + (atText+len(stdout)+len(stderr))>>16),
		data:  []segment{{atText, []byte(stdout + stderr)}},
	}.encode()
}

// Args is a command that prints its arguments, each ended by a zero byte, and a newline.
func Args() []byte { return list("args_sizes_get", "args_get") }

// Env is a command that prints its environment, each entry ended by a zero byte, and a newline.
func Env() []byte { return list("environ_sizes_get", "environ_get") }

func list(sizes, get string) []byte {
	two := signature{[]byte{i32, i32}, []byte{i32}}
	return definition{
		imports: []imported{fdWrite, {wasi, sizes, two}, {wasi, get, two}},
		functions: []function{{"_start", join(
			i32Const(atResult), i32Const(atResult+4), callFunc(1), drop,
			i32Const(atList), i32Const(atBuffer), callFunc(2), drop,
			// A data size is an address, too, once it is added to where the data begins.
			write(0, 1, i32Const(atBuffer), i32Load(atResult+4)),
			write(0, 1, i32Const(atText), i32Const(1)),
		)}},
		pages: 2,
		data:  []segment{{atText, []byte("\n")}},
	}.encode()
}

// Sleep is a command that prints, sleeps and exits with zero.
func Sleep(stdout string, d time.Duration) []byte {
	return definition{
		imports: []imported{fdWrite, pollOneoff},
		functions: []function{{"_start", join(
			write(0, 1, i32Const(atText), i32Const(int32(len(stdout)))), sleep(1),
		)}},
		pages: 1,
		data:  []segment{subscription(d), {atText, []byte(stdout)}},
	}.encode()
}

// Loop is a command that never ends by itself.
func Loop() []byte { return command(forever) }

// Trap is a command that breaks off at once.
func Trap() []byte { return command(unreachable) }

// Hog is a command that grows its memory until that is refused, and then breaks off, as programs do.
func Hog() []byte {
	return command(join(
		[]byte{0x03, 0x40},                          // loop
		i32Const(64), []byte{0x40, 0}, i32Const(-1), // grow by 4 MiB
		[]byte{0x47, 0x0d, 0x00, 0x0b}, unreachable)) // until it is refused
}

func command(code []byte) []byte {
	return definition{functions: []function{{"_start", code}}, pages: 1}.encode()
}
