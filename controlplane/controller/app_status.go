package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// appFigures are what the runtime measured on a pod.
type appFigures struct {
	coldStart, compile int64
	cached             bool
	all                string // as the annotation has it
}

func figuresOf(pod metav1.Object) appFigures {
	annotations := pod.GetAnnotations()
	return appFigures{
		coldStart: micros(annotations[api.AnnotationColdStartMicros]),
		compile:   micros(annotations[api.AnnotationCompileMicros]),
		cached:    annotations[api.AnnotationCompileCached] == "true",
		all:       annotations[api.AnnotationColdStart],
	}
}

// micros reads a figure; what is no number is no figure.
func micros(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// measured chooses among the pods of a version: the newest pod's cold start, and the compilation that was really done
// where there was one, for reading the cache says little about the module.
func measured(pods []*corev1.Pod, version int64) appFigures {
	var newest, compiled *corev1.Pod
	for _, pod := range pods {
		f := figuresOf(pod)
		if pod.Labels[api.LabelVersion] != strconv.FormatInt(version, 10) || f == (appFigures{}) {
			continue
		}
		if f.coldStart > 0 && (newest == nil || younger(pod, newest)) {
			newest = pod
		}
		if f.compile > 0 && (compiled == nil || figuresOf(compiled).cached && !f.cached) {
			compiled = pod
		}
	}
	var out appFigures
	if newest != nil {
		f := figuresOf(newest)
		out.coldStart, out.all = f.coldStart, f.all
	}
	if compiled != nil {
		out.compile = figuresOf(compiled).compile
	}
	return out
}

func younger(a, b *corev1.Pod) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return b.CreationTimestamp.Before(&a.CreationTimestamp)
	}
	return a.Name < b.Name
}

func (c *AppController) writeStatus(ctx context.Context, app *api.App, seen appSeen) error {
	next := app.DeepCopy()
	c.setStatus(&next.Status, app, seen)
	if equality.Semantic.DeepEqual(app.Status, next.Status) {
		return nil
	}
	if _, err := c.env.Client.UpdateStatus(ctx, next); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

func (c *AppController) setStatus(s *api.AppStatus, app *api.App, seen appSeen) {
	s.ObservedGeneration = app.Generation
	s.URL = c.config.URL(app.Namespace, app.Name)
	s.LatestVersion = c.latestVersion(app, seen.revisions)
	if seen.active == nil && seen.refused != nil {
		c.setRefused(s, app, seen.refused)
		return
	}
	if seen.active == nil {
		s.ActiveVersion = 0
		c.setCondition(s, app, api.AppReady, false, api.ReasonNoVersion, "nothing has been deployed yet")
		c.setCondition(s, app, api.AppProgressing, false, api.ReasonNoVersion, "nothing has been deployed yet")
		return
	}
	s.LatestVersion = max(s.LatestVersion, seen.active.Spec.Version)
	if s.ActiveVersion != seen.active.Spec.Version {
		s.ActiveVersion, s.ColdStartMicros, s.CompileMicros, s.ColdStart = seen.active.Spec.Version, 0, 0, nil
	}
	// An app without pods keeps the figures of its last one.
	figures := measured(byIndex[*corev1.Pod](c.pods, indexApp, app.Namespace+"/"+app.Name), s.ActiveVersion)
	if figures.coldStart > 0 {
		s.ColdStartMicros = figures.coldStart
	}
	if figures.compile > 0 {
		s.CompileMicros = figures.compile
	}
	if all := api.ParseColdStart(figures.all); all != nil {
		s.ColdStart = all
	}
	c.setRollout(s, app, seen)
}

// setRollout tells how far the pods are.
func (c *AppController) setRollout(s *api.AppStatus, app *api.App, seen appSeen) {
	if seen.refused != nil {
		c.setRefused(s, app, seen.refused)
		return
	}
	d := seen.deployment
	if d == nil {
		d = &appsv1.Deployment{}
	}
	s.Replicas, s.UpdatedReplicas, s.ReadyReplicas = d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas
	want := *app.Spec.Replicas
	current := d.Generation > 0 && d.Status.ObservedGeneration >= d.Generation && deploys(d, seen.active)
	done := current && d.Status.UpdatedReplicas == want && d.Status.Replicas == want && d.Status.AvailableReplicas >= want
	counts := fmt.Sprintf("%d of %d pods of version %d, %d ready in all", d.Status.UpdatedReplicas, want, seen.active.Spec.Version, d.Status.ReadyReplicas)
	switch {
	case done && want == 0:
		c.setCondition(s, app, api.AppReady, false, api.ReasonScaledToZero, "replicas is 0")
	case done:
		c.setCondition(s, app, api.AppReady, true, api.ReasonServing, counts)
	default:
		c.setCondition(s, app, api.AppReady, false, api.ReasonPodsNotReady, counts)
	}
	if stuck := deadlineExceeded(d); current && !done && stuck != "" {
		c.setCondition(s, app, api.AppProgressing, false, api.ReasonDeadlineExceeded, stuck)
	} else if done {
		c.setCondition(s, app, api.AppProgressing, false, api.ReasonRolledOut, counts)
	} else {
		c.setCondition(s, app, api.AppProgressing, true, api.ReasonRollingOut, counts)
	}
}

// setRefused is for an App that cannot be carried out as it is. What served before goes on.
func (c *AppController) setRefused(s *api.AppStatus, app *api.App, why error) {
	reason := api.ReasonInvalid
	if errors.Is(why, errNameTaken) {
		reason = api.ReasonNameTaken
	}
	c.setCondition(s, app, api.AppReady, false, reason, why.Error())
	c.setCondition(s, app, api.AppProgressing, false, reason, why.Error())
}

// deploys tells whether the Deployment's pods are those of the version.
func deploys(d *appsv1.Deployment, active *api.Revision) bool {
	return d.Spec.Template.Labels[api.LabelVersion] == strconv.FormatInt(active.Spec.Version, 10)
}

// deadlineExceeded is the Deployment's word on a rollout that got stuck.
func deadlineExceeded(d *appsv1.Deployment) string {
	for _, cond := range d.Status.Conditions {
		if cond.Type == appsv1.DeploymentProgressing && cond.Status == corev1.ConditionFalse {
			return cond.Message
		}
	}
	return ""
}

func (c *AppController) setCondition(s *api.AppStatus, app *api.App, kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	cond := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: app.Generation}
	if old := meta.FindStatusCondition(s.Conditions, kind); old == nil || old.Status != status {
		cond.LastTransitionTime = c.env.now()
	} else {
		cond.LastTransitionTime = old.LastTransitionTime
	}
	meta.SetStatusCondition(&s.Conditions, cond)
}
