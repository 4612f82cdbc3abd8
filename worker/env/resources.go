package env

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resource is the value of a resource field: limits or requests of a container, counted in units of the divisor and
// rounded up. A limit that is not set is what the node can give.
func Resource(p *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		if c = find(p, ref.ContainerName); c == nil {
			return "", fmt.Errorf("resource field: no container %q", ref.ContainerName)
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	resourceName := corev1.ResourceName(name)
	var value resource.Quantity
	switch kind {
	case "limits":
		limit, set := c.Resources.Limits[resourceName]
		if !set {
			limit = allocatable[resourceName]
		}
		value = limit
	case "requests":
		value = c.Resources.Requests[resourceName]
	default:
		return "", fmt.Errorf("resource field %q: want limits or requests of a resource", ref.Resource)
	}
	if name == "" {
		return "", fmt.Errorf("resource field %q: want limits or requests of a resource", ref.Resource)
	}
	return divide(resourceName, value, ref.Divisor), nil
}

func find(p *corev1.Pod, name string) *corev1.Container {
	for _, all := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range all {
			if all[i].Name == name {
				return &all[i]
			}
		}
	}
	return nil
}

// divide counts value in units of divisor, rounding up. CPU is compared in thousandths, since its units are.
func divide(name corev1.ResourceName, value, divisor resource.Quantity) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	v, d := value.Value(), divisor.Value()
	if name == corev1.ResourceCPU {
		v, d = value.MilliValue(), divisor.MilliValue()
	}
	n := v / d
	if v%d > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}
