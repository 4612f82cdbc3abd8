// Package volume makes the directories that a pod's containers mount: config maps, secrets, downward API, projections
// of these, empty directories and paths of the host.
//
// Invariants: a volume appears under its name with all its files or not at all (written aside, then renamed), so that
// a worker that dies in the midst leaves nothing half made; making one twice is no harm; no file name leaves the
// volume. Volumes are written once, when the pod starts: later changes of a config map reach new pods only.
//
// It may import Kubernetes' API types and worker/env for references and fields.
package volume
