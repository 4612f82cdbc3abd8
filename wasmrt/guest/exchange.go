package guest

import (
	"net/http"
	"net/url"
	"unsafe"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

const (
	// headSize is the room for a request's head that most fit in.
	headSize = 4096
	// blockSize is the room for a response's head that most fit in.
	blockSize = 1024
	// fewFields is up to how many header fields Go's map compares names instead of hashing them.
	fewFields = 8
	// exchangeRoom makes a prepared exchange fill three pages of memory, but for what the allocator adds: then it begins
	// with one.
	exchangeRoom = 11 << 10
)

// exchange is everything that serving one request takes.
type exchange struct {
	request  http.Request // with its context set, which is why it is copied and not made
	context  requestContext
	body     body
	head     wire.RequestHead
	url      url.URL
	response response
	room     []byte // for the heads and for what waits to be sent, one after the other
	used     int    // of room
	own      bool   // the room is for this exchange alone
}

// cut takes the next so many bytes of the room, as an empty slice.
func (x *exchange) cut(size int) []byte {
	from := x.used
	x.used += size
	return x.room[from:from:x.used]
}

// text views bytes of the room as a string. Room that another exchange will write to is copied.
func (x *exchange) text(b []byte) string {
	if x.own {
		return unsafe.String(unsafe.SliceData(b), len(b))
	}
	return string(b)
}

// spare is an exchange that the warm-up made. It is in one piece, so that a request allocates little and touches few
// pages of memory, each of which has to be restored after it. It is used once, because a handler may keep what it gets.
var spare *exchange

// scratch is the room of all other exchanges, which come one after the other.
var scratch []byte

// take returns the spare exchange, or a new one.
func take() *exchange {
	x := spare
	if x == nil {
		if scratch == nil {
			scratch = make([]byte, exchangeRoom)
		}
		x = &exchange{room: scratch}
		x.prepare()
		return x
	}
	spare = nil
	return x
}

// newSpare makes an exchange that has everything.
func newSpare() *exchange {
	p := &struct {
		exchange
		bytes [exchangeRoom]byte
	}{}
	x := &p.exchange
	x.room, x.own = p.bytes[:], true
	x.prepare()
	return x
}

func (x *exchange) prepare() {
	x.request = *(&http.Request{}).WithContext(&x.context)
	x.head.Reserve(fewFields)
	x.response.exchange = x
	x.response.header = wire.MakeHeader(fewFields)
}
