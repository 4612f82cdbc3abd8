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
	// exchangeRoom makes an exchange fill three pages of memory, but for what the allocator adds: then it begins with one.
	exchangeRoom = 11 << 10
)

// exchange is everything that serving one request takes, in one piece: the warm-up makes it, and so a request allocates
// little and touches few pages of memory, each of which has to be restored after it. For the same reason what comes and
// goes is put into room one after the other: the request's head, the response's, what of its body waits to be sent.
type exchange struct {
	request  http.Request // with its context set, which is why it is copied and not made
	context  requestContext
	body     body
	head     wire.RequestHead
	url      url.URL
	response response
	used     int // of room
	room     [exchangeRoom]byte
}

// cut takes the next so many bytes of the room, as an empty slice.
func (x *exchange) cut(size int) []byte {
	from := x.used
	x.used += size
	return x.room[from:from:x.used]
}

// spare is an exchange that was made before the request came. Each is used once, because a handler may keep what it gets.
var spare *exchange

// take returns the spare exchange, or a new one.
func take() *exchange {
	x := spare
	if x == nil {
		return newExchange()
	}
	spare = nil
	return x
}

func newExchange() *exchange {
	x := &exchange{}
	x.request = *(&http.Request{}).WithContext(&x.context)
	x.head.Reserve(fewFields)
	x.response.exchange = x
	x.response.header = wire.MakeHeader(fewFields)
	return x
}

// text views bytes as a string. They are never written again, because no exchange is used twice.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
