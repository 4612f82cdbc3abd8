package supervisor

import (
	"slices"

	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The streamed lists answer what the plain ones do, in messages of pageSize items.

func sendPages[T, M any](items []T, stream grpc.ServerStreamingServer[M], message func([]T) *M) error {
	for page := range slices.Chunk(items, pageSize) {
		if err := stream.Send(message(page)); err != nil {
			return err
		}
	}
	return nil
}

// StreamPodSandboxes is ListPodSandbox in pages.
func (s *Supervisor) StreamPodSandboxes(r *runtimev1.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxesResponse]) error {
	return sendPages(s.listSandboxes(r.GetFilter()), stream, func(p []*runtimev1.PodSandbox) *runtimev1.StreamPodSandboxesResponse {
		return &runtimev1.StreamPodSandboxesResponse{PodSandboxes: p}
	})
}

// StreamContainers is ListContainers in pages.
func (s *Supervisor) StreamContainers(r *runtimev1.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimev1.StreamContainersResponse]) error {
	return sendPages(s.listContainers(r.GetFilter()), stream, func(p []*runtimev1.Container) *runtimev1.StreamContainersResponse {
		return &runtimev1.StreamContainersResponse{Containers: p}
	})
}

// StreamContainerStats is ListContainerStats in pages.
func (s *Supervisor) StreamContainerStats(r *runtimev1.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamContainerStatsResponse]) error {
	list, err := s.listContainerStats(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendPages(list, stream, func(p []*runtimev1.ContainerStats) *runtimev1.StreamContainerStatsResponse {
		return &runtimev1.StreamContainerStatsResponse{ContainerStats: p}
	})
}

// StreamPodSandboxStats is ListPodSandboxStats in pages.
func (s *Supervisor) StreamPodSandboxStats(r *runtimev1.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxStatsResponse]) error {
	list, err := s.listSandboxStats(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendPages(list, stream, func(p []*runtimev1.PodSandboxStats) *runtimev1.StreamPodSandboxStatsResponse {
		return &runtimev1.StreamPodSandboxStatsResponse{PodSandboxStats: p}
	})
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in pages.
func (s *Supervisor) StreamPodSandboxMetrics(_ *runtimev1.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxMetricsResponse]) error {
	list, err := s.sandboxMetrics(stream.Context())
	if err != nil {
		return grpcError(err)
	}
	return sendPages(list, stream, func(p []*runtimev1.PodSandboxMetrics) *runtimev1.StreamPodSandboxMetricsResponse {
		return &runtimev1.StreamPodSandboxMetricsResponse{PodSandboxMetrics: p}
	})
}

// StreamImages is ListImages in pages.
func (s *Supervisor) StreamImages(r *runtimev1.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimev1.StreamImagesResponse]) error {
	var items []*runtimev1.Image
	for _, i := range s.images.List(r.GetFilter().GetImage().GetImage()) {
		items = append(items, imageItem(i))
	}
	return sendPages(items, stream, func(p []*runtimev1.Image) *runtimev1.StreamImagesResponse {
		return &runtimev1.StreamImagesResponse{Images: p}
	})
}
