package confine

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageUser is whom an image names as its user: by number, by name, or not at all, which is root.
type ImageUser struct {
	UID  *int64
	Name string
}

// Errors of containers that must not run as root.
var (
	errRunsAsRoot    = errors.New("container's runAsUser breaks non-root policy: runAsNonRoot is set, and runAsUser is 0")
	errImageIsRoot   = errors.New("container has runAsNonRoot and image will run as root: set runAsUser")
	errUserNamespace = errors.New("user namespaces (hostUsers: false) are not supported on this node")
)

// NeedsImageUser reports whether the image's user has to be known for the container's security context.
func NeedsImageUser(p *corev1.Pod, c *corev1.Container) bool {
	own := settingsOf(p, c).container
	return own.RunAsUser == nil && (isTrue(own.RunAsNonRoot) || own.RunAsGroup != nil)
}

// user is who the container runs as, where that is not left to the image: nil and an empty name.
func user(own *corev1.SecurityContext, image ImageUser) (*runtimev1.Int64Value, string, error) {
	if err := nonRoot(own, image); err != nil {
		return nil, "", err
	}
	switch {
	case own.RunAsUser != nil:
		return number(own.RunAsUser), "", nil
	case own.RunAsGroup == nil:
		return nil, "", nil
	case image.UID != nil: // a group is of somebody
		return number(image.UID), "", nil
	case image.Name != "":
		return nil, image.Name, nil
	default:
		return &runtimev1.Int64Value{}, "", nil
	}
}

// nonRoot holds the container to runAsNonRoot.
func nonRoot(own *corev1.SecurityContext, image ImageUser) error {
	switch {
	case !isTrue(own.RunAsNonRoot):
		return nil
	case own.RunAsUser != nil:
		if *own.RunAsUser == 0 {
			return errRunsAsRoot
		}
		return nil
	case image.UID != nil:
		if *image.UID == 0 {
			return errImageIsRoot
		}
		return nil
	case image.Name != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root: set runAsUser", image.Name)
	default:
		return errImageIsRoot
	}
}

// supplementalGroups are the pod's, with the group that its volumes belong to.
func supplementalGroups(s *corev1.PodSecurityContext) []int64 {
	var out []int64
	if s.FSGroup != nil {
		out = append(out, *s.FSGroup)
	}
	return append(out, s.SupplementalGroups...)
}

func groupsPolicy(s *corev1.PodSecurityContext) runtimev1.SupplementalGroupsPolicy {
	if s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		return runtimev1.SupplementalGroupsPolicy_Strict
	}
	return runtimev1.SupplementalGroupsPolicy_Merge
}
