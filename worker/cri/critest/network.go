package critest

import (
	"net"
	"net/http"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var networkTests = map[string]func(*suite){
	"Serves":        testServes,
	"OwnAddresses":  testOwnAddresses,
	"StopFreesPort": testStopFreesPort,
	"PortForward":   testPortForward,
}

// http reaches pods.
func (s *suite) http() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.Dial}}
}

// answers waits until the pod's server does.
func (s *suite) answers(p *pod) {
	s.Helper()
	url := "http://" + net.JoinHostPort(p.ip, "8642") + "/"
	client := s.http()
	s.eventually("an answer of "+url, func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func testServes(s *suite) {
	const port = "8642"
	p := s.sandbox(8642)
	id := s.start(p, s.ServerImage, "web", 0)
	client := s.http()
	url := "http://" + net.JoinHostPort(p.ip, port) + "/"
	s.eventually("an answer of "+url, func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	s.must(s.Client.StopContainer(s.ctx, id, time.Second))
	if answer, err := client.Get(url); err == nil {
		answer.Body.Close()
		s.Errorf("%s still answers %s after its container was stopped", url, answer.Status)
	}
	s.must(s.Client.StartContainer(s.ctx, s.create(p, s.ServerImage, "web", 1)))
	s.eventually("an answer of the second attempt", func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// testOwnAddresses: each pod has an address of its own, and the same port at each.
func testOwnAddresses(s *suite) {
	one, two := s.sandbox(8642), s.sandbox(8642)
	if one.ip == two.ip || one.ip == "" {
		s.Errorf("two pods have the addresses %q and %q", one.ip, two.ip)
	}
	s.start(one, s.ServerImage, "web", 0)
	s.start(two, s.ServerImage, "web", 0)
	s.answers(one)
	s.answers(two)
	s.must(s.Client.StopPodSandbox(s.ctx, one.id))
	s.answers(two)
	if status, err := s.Client.PodSandboxStatus(s.ctx, two.id); err != nil || status.GetNetwork().GetIp() != two.ip {
		s.Errorf("the other pod's address is %v after the first was stopped, %v", status.GetNetwork(), err)
	}
}

// testStopFreesPort: a pod's address and port can be had again when its sandbox is stopped, not when it is removed.
func testStopFreesPort(s *suite) {
	first := s.sandbox(8642)
	s.start(first, s.ServerImage, "web", 0)
	s.answers(first)
	s.must(s.Client.StopPodSandbox(s.ctx, first.id))
	next := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.PortMappings = first.config.GetPortMappings()
		if ip := first.config.GetAnnotations()[annotationPodIP]; ip != "" {
			c.Annotations[annotationPodIP] = ip
		}
	})
	s.start(next, s.ServerImage, "web", 0)
	s.answers(next)
}
