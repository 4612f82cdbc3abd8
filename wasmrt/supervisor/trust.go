package supervisor

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// annotationModuleFile, on the image of a PullImage, names the file of this host that holds the module: what a client
// has already, it need not serve as a registry to hand on.
const annotationModuleFile = annotationPrefix + "module-file"

// trusted refuses an annotation that names a file of this host from a client that may hand on what its users wrote.
func (s *Supervisor) trusted(annotation, path string) error {
	if !s.cfg.TrustAnnotations {
		return status.Errorf(codes.PermissionDenied, "annotation %s is not taken: the runtime was started without --trust-annotations", annotation)
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return status.Errorf(codes.InvalidArgument, "annotation %s: %q must be an absolute, clean path", annotation, path)
	}
	return nil
}

// mayHave refuses an address that a client wants that may hand on what its users wrote: those of the pod CIDR are for pods, all
// others are somebody's. The mutex is held.
func (s *Supervisor) mayHave(address string) error {
	for word := range strings.SplitSeq(address, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil || s.cfg.TrustAnnotations || s.addresses.cidr.Contains(addr.Unmap()) {
			continue // what is no address is refused where it is taken
		}
		return status.Errorf(codes.PermissionDenied, "annotation %s: %s is not of the pod CIDR %s, and the runtime was started without --trust-annotations", annotationPodIP, addr, s.addresses.cidr)
	}
	return nil
}

// importImage makes an image of a module in a file.
func (s *Supervisor) importImage(ctx context.Context, ref, file string) (*runtimev1.PullImageResponse, error) {
	if err := s.trusted(annotationModuleFile, file); err != nil {
		return nil, err
	}
	i, err := s.puller.Import(ctx, ref, file)
	if err != nil {
		return nil, grpcError(err)
	}
	return &runtimev1.PullImageResponse{ImageRef: i.ID}, nil
}
