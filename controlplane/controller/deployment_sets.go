package controller

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

// Annotations on ReplicaSets and Deployments that kubectl rollout reads, by Kubernetes' names.
const (
	annotationRevision        = "deployment.kubernetes.io/revision"
	annotationRevisionHistory = "deployment.kubernetes.io/revision-history"
	annotationDesired         = "deployment.kubernetes.io/desired-replicas"
	annotationMax             = "deployment.kubernetes.io/max-replicas"
	annotationRollbackTo      = "deprecated.deployment.rollback.to"
)

// revisionHistoryBytes bounds the list of revisions that one template had: after each roll back to it one more.
const revisionHistoryBytes = 2000

// setGroup is a Deployment's ReplicaSets: the one of the present template, nil before it is made, and the others,
// oldest first.
type setGroup struct {
	current *appsv1.ReplicaSet
	old     []*appsv1.ReplicaSet
}

// newSetGroup finds the ReplicaSet of the present template. Should two have it, the older one is taken, so that the
// choice is the same each time.
func newSetGroup(d *appsv1.Deployment, owned []*appsv1.ReplicaSet) *setGroup {
	sorted := slices.Clone(owned)
	slices.SortFunc(sorted, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	g := &setGroup{}
	for _, rs := range sorted {
		if g.current == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			g.current = rs
			continue
		}
		g.old = append(g.old, rs)
	}
	return g
}

// all returns every ReplicaSet, the present one last.
func (g *setGroup) all() []*appsv1.ReplicaSet {
	all := slices.Clone(g.old)
	if g.current != nil {
		all = append(all, g.current)
	}
	return all
}

// replace puts a ReplicaSet in place of the older version of itself.
func (g *setGroup) replace(rs *appsv1.ReplicaSet) {
	if g.current != nil && g.current.UID == rs.UID {
		g.current = rs
		return
	}
	for i := range g.old {
		if g.old[i].UID == rs.UID {
			g.old[i] = rs
		}
	}
}

// sameTemplate compares two templates, the hash label that tells ReplicaSets apart left out.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	delete(x.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(y.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(x, y)
}

// templateHash names a template. The collision count makes another name when one is taken by a stranger.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	raw, err := json.Marshal(template)
	if err != nil {
		return "", fmt.Errorf("hash template: %w", err)
	}
	h := fnv.New32a()
	h.Write(raw)
	if n := ptr.Deref(collisions, 0); n > 0 {
		fmt.Fprintf(h, "#%d", n)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}

// revision reads the revision that a ReplicaSet carries; zero when there is none.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[annotationRevision], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nextRevision is one more than any other ReplicaSet has.
func (g *setGroup) nextRevision() int64 {
	var highest int64
	for _, rs := range g.old {
		highest = max(highest, revision(rs))
	}
	return highest + 1
}

// notCopied are annotations of a Deployment that its ReplicaSets do not get.
var notCopied = []string{
	corev1.LastAppliedConfigAnnotation, annotationRevision, annotationRevisionHistory, annotationDesired,
	annotationMax, annotationRollbackTo,
}

// annotate gives the present ReplicaSet the Deployment's annotations, its revision and what it is scaled for. It
// tells whether anything changed.
func (g *setGroup) annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	before := rs.Annotations
	after := make(map[string]string, len(before)+len(d.Annotations))
	for k, v := range before {
		after[k] = v
	}
	for k, v := range d.Annotations {
		if !slices.Contains(notCopied, k) {
			after[k] = v
		}
	}
	if next := g.nextRevision(); revision(rs) < next {
		after[annotationRevision] = strconv.FormatInt(next, 10)
		if old := before[annotationRevision]; old != "" {
			after[annotationRevisionHistory] = appendRevision(before[annotationRevisionHistory], old)
		}
	}
	rs.Annotations = after
	return !equality.Semantic.DeepEqual(before, after)
}

// appendRevision adds a revision to the list, dropping the oldest when it grows too long.
func appendRevision(list, revision string) string {
	revisions := strings.Split(list, ",")
	if list == "" {
		revisions = nil
	}
	revisions = append(revisions, revision)
	for len(strings.Join(revisions, ",")) > revisionHistoryBytes {
		revisions = revisions[1:]
	}
	return strings.Join(revisions, ",")
}

// setScaleAnnotations notes on a ReplicaSet for which numbers it was scaled, so that a change of the Deployment's
// replicas can be told from a step of a rollout.
func setScaleAnnotations(rs *appsv1.ReplicaSet, desired, most int32) bool {
	want := map[string]string{
		annotationDesired: strconv.Itoa(int(desired)), annotationMax: strconv.Itoa(int(most)),
	}
	changed := false
	for k, v := range want {
		if rs.Annotations[k] != v {
			if rs.Annotations == nil {
				rs.Annotations = make(map[string]string)
			}
			rs.Annotations[k] = v
			changed = true
		}
	}
	return changed
}

// scaleAnnotation reads one of the scale annotations.
func scaleAnnotation(rs *appsv1.ReplicaSet, name string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[name], 10, 32)
	return int32(n), err == nil
}
