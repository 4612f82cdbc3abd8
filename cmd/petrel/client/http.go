package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/apps"
)

const userAgent = "petrel"

// maxAnswer bounds an answer that is read whole. The largest, a list of thousands of apps, has some megabytes.
const maxAnswer = 64 << 20

// expectTimeout is how long an upload waits for the server's word before it sends its body regardless.
const expectTimeout = 2 * time.Second

// transport is shared by all requests of a process. It uses no proxy: the control plane is on this machine, or named.
var transport = &http.Transport{ExpectContinueTimeout: expectTimeout}

// call is one request to the deploy API.
type call struct {
	method, path string
	query        url.Values
	contentType  string
	body         io.Reader
	size         int64
	file         string // the body's name, for --show-http
	text         string // the body itself where it is short
}

// send answers the response, or the server's problem as an error. The caller closes the body.
func (o *options) send(ctx context.Context, c call) (*http.Response, error) {
	target := o.server + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	if o.showHTTP {
		fmt.Fprintln(o.Err, c.curl(target))
	}
	body := c.body
	if c.text != "" {
		body, c.size = strings.NewReader(c.text), int64(len(c.text))
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.ContentLength = c.size
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	if c.file != "" {
		// A server that refuses the request says so before the module is sent.
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := (&http.Client{Transport: o.roundTripper()}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, failure(resp)
	}
	return resp, nil
}

// fetch sends and reads the whole answer into out, and answers its bytes for who prints JSON.
func (o *options) fetch(ctx context.Context, c call, out any) ([]byte, error) {
	resp, err := o.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("read answer of %s: is it a petrel control plane? %w", o.server, err)
	}
	return raw, nil
}

// failure makes the problem of a response that is none of success.
func failure(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // what is malformed is not ours
	var p apps.Problem
	if mediaType == apps.ProblemMediaType && json.Unmarshal(raw, &p) == nil && p.Status != 0 {
		return &p
	}
	// What is refused before the deploy API sees it is told as the Kubernetes API tells it.
	var status metav1.Status
	if json.Unmarshal(raw, &status) == nil && status.Kind == "Status" && status.Message != "" {
		p := apps.Problem{
			Type: "about:blank", Title: "The server refuses the request", Status: resp.StatusCode,
			Code: strings.ToLower(string(status.Reason)), Cause: status.Message, Fix: "ask whoever runs the cluster for another role",
		}
		if resp.StatusCode == http.StatusUnauthorized {
			p.Fix = "give credentials with --kubeconfig or " + EnvKubeconfig + "; `petrel kubeconfig --data-dir`, on the control plane's machine, writes some"
		}
		return &p
	}
	return &apps.Problem{
		Type: "about:blank", Title: "The server answers " + resp.Status, Status: resp.StatusCode, Code: "unexpected_answer",
		Cause: strings.TrimSpace(string(raw[:min(len(raw), 500)])), Fix: "check that --server is a petrel control plane",
	}
}

// curl is the request as a command line.
func (c *call) curl(target string) string {
	parts := []string{"curl"}
	switch {
	case c.file != "":
		parts = append(parts, "-T", quote(c.file))
	case c.text != "":
		parts = append(parts, "-X", c.method, "-H", quote("Content-Type: "+c.contentType), "-d", quote(c.text))
	case c.method != http.MethodGet:
		parts = append(parts, "-X", c.method)
	}
	return strings.Join(append(parts, quote(target)), " ")
}

// quote protects an argument from the shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@=,") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
