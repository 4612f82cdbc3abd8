package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestHTTPBin serves github.com/mccutchen/go-httpbin, which nobody here wrote, and asks its documented endpoints with
// curl.
func TestHTTPBin(t *testing.T) {
	w := newWorld(t)
	small := w.file("small.txt", []byte("a small file"))
	page := w.file("page.txt", []byte(strings.Repeat("a line of a larger file\n", 1000))) // package http puts parts of this size into files
	url := strings.TrimSuffix(w.deploy("httpbin", w.example("httpbin"), 201).URL, "/")
	host := strings.TrimPrefix(url, "http://")

	for _, c := range []struct {
		args   string // to curl; $U is the app, ~ a space
		status int
		want   []string // in the body
	}{
		{"$U/", 200, []string{"go-httpbin", "<html"}},
		{"$U/get?a=1&a=2", 200, []string{`"a"`, `"1"`, `"2"`, `"method": "GET"`, url + "/get?a=1"}},
		{"-d k=v $U/post", 200, []string{`"k"`, `"v"`, `"application/x-www-form-urlencoded"`}},
		{`-H Content-Type:application/json -d {"x":[1]} $U/post`, 200, []string{`"json"`, `"x"`}},
		{"-F file=@" + small + " $U/post", 200, []string{`"files"`, "a small file"}},
		{"-F file=@" + page + " $U/post", 200, []string{`"files"`, "a line of a larger file"}},
		{"-X PUT -d body $U/put", 200, []string{`"method": "PUT"`}},
		{"-X PATCH -d body $U/patch", 200, []string{`"method": "PATCH"`}},
		{"-X DELETE $U/delete", 200, []string{`"method": "DELETE"`}},
		{"--head $U/head", 200, nil},
		{"$U/status/418", 418, nil},
		{"$U/status/204", 204, nil},
		{"$U/status/503", 503, nil},
		{"-H X-Mine:yes $U/headers", 200, []string{`"X-Mine"`, `"yes"`, host}},
		{"$U/ip", 200, []string{`"origin": "127.`}},
		{"-A bird $U/user-agent", 200, []string{`"user-agent": "bird"`}},
		{"$U/uuid", 200, []string{`"uuid"`}},
		{"$U/base64/cGV0cmVs", 200, []string{"petrel"}},
		{"$U/base64/encode/petrel", 200, []string{"cGV0cmVs"}},
		{"--compressed $U/gzip", 200, []string{`"gzipped": true`}},
		{"--compressed $U/deflate", 200, []string{`"deflated": true`}},
		{"$U/redirect/2", 302, nil},
		{"-L $U/redirect/3", 200, []string{`"method": "GET"`}},
		{"-L $U/absolute-redirect/2", 200, []string{url + "/get"}},
		{"-L $U/redirect-to?url=/uuid", 200, []string{`"uuid"`}},
		{"-b seen=yes $U/cookies", 200, []string{`"seen"`, `"yes"`}},
		{"$U/basic-auth/ann/word", 401, nil},
		{"-u ann:word $U/basic-auth/ann/word", 200, []string{`"authorized": true`}},
		{"--digest -u ann:word $U/digest-auth/auth/ann/word", 200, []string{`"authorized": true`}},
		{"$U/hidden-basic-auth/ann/word", 404, nil},
		{"$U/bearer", 401, nil},
		{"-H Authorization:Bearer~t $U/bearer", 200, []string{`"authenticated": true`}},
		{"$U/range/26", 200, []string{"abcdefghijklmnopqrstuvwxyz"}},
		{"-r 3-5 $U/range/26", 206, []string{"def"}},
		{"$U/etag/petrel", 200, nil},
		{`-H If-None-Match:"petrel" $U/etag/petrel`, 304, nil},
		{"$U/cache/60", 200, nil},
		{"$U/html", 200, []string{"Moby-Dick"}},
		{"$U/xml", 200, []string{"<slideshow"}},
		{"$U/json", 200, []string{"slideshow"}},
		{"$U/robots.txt", 200, []string{"Disallow"}},
		{"$U/encoding/utf8", 200, []string{"∮"}},
		{"$U/anything/a/b?c=d", 200, []string{"/anything/a/b", `"c"`}},
		{"$U/response-headers?X-Told=so", 200, []string{`"X-Told"`}},
		{"$U/stream/3", 200, []string{`"id":0`, `"id":2`}},
		{"$U/links/3/1", 200, []string{"/links/3/0"}},
		{"$U/dump/request", 200, []string{"GET /dump/request HTTP/1.1"}},
		{"$U/delay/1", 200, []string{`"method": "GET"`}},
		{"$U/sse?count=3&duration=300ms&delay=0s", 200, []string{"event: ping", `"id":2`}},
		{"$U/no-such-page", 404, nil},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "$U", url))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		a := w.curl(args...)
		if a.Status != c.status {
			t.Errorf("curl %s: %d, want %d: %s", c.args, a.Status, c.status, a.Body)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(a.Body, want) {
				t.Errorf("curl %s: no %s in\n%s", c.args, want, a.Body)
			}
		}
	}

	equal(t, "bytes of /bytes/100000", len(w.curl(url+"/bytes/100000?seed=1").Body), 100000)
	equal(t, "image type", w.curl("--output", "/dev/null", url+"/image/png").Header.Get("Content-Type"), "image/png")
	contains(t, w.curl(url+"/response-headers?X-Told=so").Header.Get("X-Told"), "so")
	contains(t, w.curl(url+"/cookies/set?k=v").Header.Get("Set-Cookie"), "k=v")

	began := time.Now()
	equal(t, "bytes of /drip", len(w.curl(url+"/drip?duration=1s&numbytes=5&delay=0s").Body), 5)
	if took := time.Since(began); took < 800*time.Millisecond {
		t.Errorf("/drip over a second took %s", took)
	}
	// Half a mebibyte goes in and comes back; httpbin itself takes one at most.
	large := w.file("large", []byte(strings.Repeat("0123456789abcdef", 32<<10)))
	a := w.curl("-H", "Content-Type: text/plain", "--data-binary", "@"+large, url+"/post")
	equal(t, "status of a large body", a.Status, 200)
	contains(t, a.Body, strings.Repeat("0123456789abcdef", 1000))
}
