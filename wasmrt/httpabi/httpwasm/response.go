package httpwasm

import (
	"net/http"
)

// response is what will be answered: streamed to the client, or kept until the guest has seen it. It is the next
// handler's http.ResponseWriter too.
type response struct {
	w      http.ResponseWriter
	status int     // 0 until somebody sets it
	sent   bool    // the head has been handed on
	kept   *capped // the body, when it is kept
	shown  int     // how much of that the guest has read
	wrote  bool    // the guest has written to the body in this phase
	any    bool    // somebody has written to it
	err    error   // of a kept body that grew too large
}

func (p *response) Header() http.Header { return p.w.Header() }

// WriteHeader is the next handler's: what the guest set before is overruled.
func (p *response) WriteHeader(status int) {
	if p.kept == nil && !p.sent {
		p.status = status
		p.send()
		return
	}
	p.status = status
}

func (p *response) Write(b []byte) (int, error) {
	p.any = true
	if p.kept != nil {
		n, err := p.kept.Write(b)
		if err != nil {
			p.err = err
		}
		return n, err
	}
	p.send()
	return p.w.Write(b)
}

// Unwrap is for http.ResponseController.
func (p *response) Unwrap() http.ResponseWriter { return p.w }

// answered tells whether the guest has said anything that makes an answer.
func (p *response) answered() bool { return p.status != 0 || p.any }

// keep holds back the rest of the response. What has been streamed is gone.
func (p *response) keep(limit int64) {
	if p.kept == nil && !p.sent {
		p.kept = &capped{left: limit}
	}
}

// rewrite empties a kept body.
func (p *response) rewrite() {
	if p.kept != nil {
		p.kept.left += int64(p.kept.Len())
		p.kept.Reset()
		p.shown = 0
	}
}

// send hands the head on.
func (p *response) send() {
	if p.sent {
		return
	}
	p.sent = true
	p.w.WriteHeader(p.code())
}

func (p *response) code() int {
	if p.status == 0 {
		return http.StatusOK
	}
	return p.status
}

// finish sends what was held back.
func (p *response) finish() error {
	p.send()
	if p.kept == nil || p.kept.Len() == 0 {
		return nil
	}
	_, err := p.w.Write(p.kept.Bytes())
	return err
}
