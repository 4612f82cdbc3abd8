module github.com/petrelrun/petrel/examples/httpbin

go 1.26.0

require (
	github.com/mccutchen/go-httpbin/v2 v2.26.0
	github.com/petrelrun/petrel v0.0.0
)

replace github.com/petrelrun/petrel => ../..
