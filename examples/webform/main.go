// Webform is a WAGI program: each request runs it once, with the request in its environment and on standard input. What
// makes of an http.Handler a program of that kind is net/http/cgi, of the standard library.
package main

import (
	"fmt"
	"html/template"
	"net/http"
	"net/http/cgi"
	"os"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<title>Greeting</title>
{{if .}}<p>Good day, {{.}}!</p>{{end}}
<form method="post"><label>Your name <input name="name" autofocus></label> <button>Greet me</button></form>
`))

func form(w http.ResponseWriter, r *http.Request) {
	name := ""
	if r.Method == http.MethodPost {
		name = r.FormValue("name")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, name); err != nil {
		fmt.Fprintln(os.Stderr, "webform:", err)
	}
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", form)
	if err := cgi.Serve(mux); err != nil {
		fmt.Fprintln(os.Stderr, "webform:", err)
		os.Exit(1)
	}
}
