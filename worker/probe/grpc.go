package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

// checkGRPC asks the server's health service, over a connection of its own.
func checkGRPC(ctx context.Context, t Target, action *corev1.GRPCAction) error {
	if action.Port < 1 || action.Port > 65535 {
		return fmt.Errorf("container %s has no port %d", t.Container.Name, action.Port)
	}
	address := net.JoinHostPort(t.IP, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithUserAgent(userAgent),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)))
	if err != nil {
		return fmt.Errorf("prepare gRPC probe: %w", err)
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return errors.New("gRPC probe failed: the server has no health service (grpc.health.v1.Health)")
	case codes.DeadlineExceeded:
		return fmt.Errorf("gRPC probe of %s took too long: %w", address, context.DeadlineExceeded)
	default:
		return fmt.Errorf("gRPC probe failed: %s", status.Convert(err).Message())
	}
	if s := answer.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC probe failed: service %q is %s", service, s)
	}
	return nil
}
