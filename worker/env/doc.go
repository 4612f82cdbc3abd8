// Package env works out the environment, command and arguments of a container: values with $(VAR) references, keys of
// config maps and secrets, the pod's fields (downward API) and resources.
//
// Invariants: it talks to nobody but the Source it is given; a reference that is missing and not optional is an error
// that names it, for the pod's CreateContainerConfigError; the order of variables is that of the spec, the last of a
// name wins. Variables of other services (service links) are not made: names resolve, and thousands of services would
// make thousands of variables.
//
// It may import Kubernetes' API types.
package env
