package env

import (
	"net"
	"strconv"
	"strings"
)

// maxLinks bounds the Services that a container hears of by variables: with those of thousands a program could not be
// started at all, for all its arguments and variables have to fit into two megabytes.
const maxLinks = 1000

// Service is what of a Service its variables tell.
type Service struct {
	Name  string
	Host  string // its cluster IP
	Ports []Port
}

// Port is one port of a Service.
type Port struct {
	Name     string
	Protocol string // TCP, UDP, SCTP
	Number   int
}

// Links are the variables by which programs from before the time of DNS find Services, in the order of the Services.
func Links(services []Service) []Var {
	var out []Var
	for _, s := range services[:min(len(services), maxLinks)] {
		if s.Host != "" && len(s.Ports) > 0 {
			out = append(out, s.variables()...)
		}
	}
	return out
}

func (s *Service) variables() []Var {
	prefix := variableName(s.Name)
	first := &s.Ports[0]
	out := []Var{{prefix + "_SERVICE_HOST", s.Host}, {prefix + "_SERVICE_PORT", strconv.Itoa(first.Number)}}
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Name != "" {
			out = append(out, Var{prefix + "_SERVICE_PORT_" + variableName(p.Name), strconv.Itoa(p.Number)})
		}
	}
	out = append(out, Var{prefix + "_PORT", first.url(s.Host)})
	for i := range s.Ports {
		p := &s.Ports[i]
		number, protocol := strconv.Itoa(p.Number), strings.ToUpper(p.protocol())
		one := prefix + "_PORT_" + number + "_" + protocol
		out = append(out, Var{one, p.url(s.Host)}, Var{one + "_PROTO", p.protocol()}, Var{one + "_PORT", number}, Var{one + "_ADDR", s.Host})
	}
	return out
}

func (p *Port) protocol() string {
	if p.Protocol == "" {
		return "tcp"
	}
	return strings.ToLower(p.Protocol)
}

func (p *Port) url(host string) string {
	return p.protocol() + "://" + net.JoinHostPort(host, strconv.Itoa(p.Number))
}

// variableName is a Service's or a port's name as variables are named.
func variableName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
