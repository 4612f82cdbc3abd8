package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// serveGRPC serves on a port of loopback until the test ends.
func serveGRPC(t *testing.T, register func(*grpc.Server)) int32 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return int32(listener.Addr().(*net.TCPAddr).Port)
}

func TestGRPC(t *testing.T) {
	service := health.NewServer()
	service.SetServingStatus("away", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	port := serveGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, service) })
	bare := serveGRPC(t, func(*grpc.Server) {})
	for name, test := range map[string]struct {
		action corev1.GRPCAction
		want   string
	}{
		"serving":        {corev1.GRPCAction{Port: port}, ""},
		"not serving":    {corev1.GRPCAction{Port: port, Service: ptr.To("away")}, `service "away" is NOT_SERVING`},
		"unknown":        {corev1.GRPCAction{Port: port, Service: ptr.To("none")}, "unknown service"},
		"no health":      {corev1.GRPCAction{Port: bare}, "no health service"},
		"refused":        {corev1.GRPCAction{Port: 1}, "refused"},
		"not even there": {corev1.GRPCAction{}, "container c has no port 0"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		err := NewActions(nil).Check(ctx, Target{Container: &corev1.Container{Name: "c"}, IP: "127.0.0.1"},
			&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &test.action}})
		cancel()
		wantError(t, name, err, test.want)
	}
}

func wantError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

// A server that accepts and says nothing is not waited for longer than the probe says.
func TestGRPCTimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = NewActions(nil).Check(ctx, Target{Container: &corev1.Container{}, IP: "127.0.0.1"}, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		GRPC: &corev1.GRPCAction{Port: int32(listener.Addr().(*net.TCPAddr).Port)},
	}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the deadline", err)
	}
}

func TestHTTPSIsNotJudgedByItsCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "https://"))
	err := NewActions(nil).Check(t.Context(), Target{Container: &corev1.Container{}, IP: host}, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Port: intstr.Parse(port)},
	}})
	wantError(t, "https", err, "statuscode: 404")
}

// commands is an Executor that knows two commands.
func commands(_ context.Context, id string, command []string, timeout time.Duration) ([]byte, int32, error) {
	switch command[0] {
	case "id":
		return []byte(id), 0, nil
	case "timeout":
		return []byte(timeout.String()), 1, nil
	case "slow":
		return nil, 0, status.Error(codes.DeadlineExceeded, "stopped it")
	default:
		return nil, 0, fmt.Errorf("no such command")
	}
}

func TestExec(t *testing.T) {
	for name, test := range map[string]struct {
		exec    Executor
		command []string
		want    string
		unknown bool
	}{
		"good":      {commands, []string{"id"}, "", false},
		"bad":       {commands, []string{"timeout"}, `command ["timeout"] exited with 1: 3s`, false},
		"slow":      {commands, []string{"slow", "one"}, `command timed out: "slow one" timed out after 3s`, false},
		"failed":    {commands, []string{"x"}, "no such command", true},
		"no runner": {nil, []string{"id"}, "cannot be run", true},
	} {
		err := NewActions(test.exec).Check(t.Context(), Target{ID: "c1"}, &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: test.command}}, TimeoutSeconds: 3,
		})
		wantError(t, name, err, test.want)
		var not unknown
		if errors.As(err, &not) != test.unknown {
			t.Errorf("%s: %v is unknown: %t, want %t", name, err, !test.unknown, test.unknown)
		}
	}
}

func TestHooks(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	defer server.Close()
	host, portText, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	port := intstr.Parse(portText)
	for name, test := range map[string]struct {
		hook corev1.LifecycleHandler
		want string
	}{
		"http":       {corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "good", Port: port}}, ""},
		"http bad":   {corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "bad", Port: port}}, "HTTP hook failed with statuscode: 404"},
		"tcp":        {corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}, ""},
		"exec":       {corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"id"}}}, ""},
		"exec bad":   {corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"timeout"}}}, "exited with 1: 1h0m0s"},
		"no action":  {corev1.LifecycleHandler{}, "neither"},
		"short wait": {corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}, ""},
	} {
		wantError(t, name, NewActions(commands).Hook(t.Context(), Target{Container: &corev1.Container{}, IP: host}, &test.hook), test.want)
	}
}

func TestSleepHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}
		began := time.Now()
		if err := NewActions(nil).Hook(t.Context(), Target{}, hook); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("slept %v, %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began = time.Now()
		if err := NewActions(nil).Hook(ctx, Target{}, hook); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("slept %v, %v", time.Since(began), err)
		}
	})
}
