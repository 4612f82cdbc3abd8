package env

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Source gives the objects that pods refer to. An object that does not exist is a NotFound error of Kubernetes' API.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Var is one variable.
type Var struct {
	Name  string
	Value string
}

// Resolve works out the variables of a container. base comes first and may be overridden by the spec's.
func Resolve(ctx context.Context, p *corev1.Pod, c *corev1.Container, facts Facts, source Source, base []Var) ([]Var, error) {
	r := &resolver{pod: p, container: c, facts: facts, source: source, index: map[string]int{}}
	for _, v := range base {
		r.set(v.Name, v.Value)
	}
	for i := range c.EnvFrom {
		if err := r.from(ctx, &c.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		if err := r.one(ctx, &c.Env[i]); err != nil {
			return nil, err
		}
	}
	return r.vars, nil
}

// Strings expands the references of each string by the variables.
func Strings(all []string, vars []Var) []string {
	lookup := map[string]string{}
	for _, v := range vars {
		lookup[v.Name] = v.Value
	}
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = Expand(s, func(name string) (string, bool) { v, ok := lookup[name]; return v, ok })
	}
	return out
}

type resolver struct {
	pod       *corev1.Pod
	container *corev1.Container
	facts     Facts
	source    Source
	vars      []Var
	index     map[string]int
}

func (r *resolver) set(name, value string) {
	if i, ok := r.index[name]; ok {
		r.vars[i].Value = value
		return
	}
	r.index[name] = len(r.vars)
	r.vars = append(r.vars, Var{name, value})
}

func (r *resolver) lookup(name string) (string, bool) {
	i, ok := r.index[name]
	if !ok {
		return "", false
	}
	return r.vars[i].Value, true
}

// from sets every key of a config map or secret.
func (r *resolver) from(ctx context.Context, e *corev1.EnvFromSource) error {
	var data map[string]string
	switch {
	case e.ConfigMapRef != nil:
		object, err := r.source.ConfigMap(ctx, r.pod.Namespace, e.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(e.ConfigMapRef.Optional, err, "configmap", e.ConfigMapRef.Name)
		}
		data = object.Data
	case e.SecretRef != nil:
		object, err := r.source.Secret(ctx, r.pod.Namespace, e.SecretRef.Name)
		if err != nil {
			return unlessOptional(e.SecretRef.Optional, err, "secret", e.SecretRef.Name)
		}
		data = texts(object.Data)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		r.set(e.Prefix+key, data[key])
	}
	return nil
}

func texts(data map[string][]byte) map[string]string {
	out := make(map[string]string, len(data))
	for key, value := range data {
		out[key] = string(value)
	}
	return out
}

func unlessOptional(optional *bool, err error, kind, name string) error {
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get %s %q: %w", kind, name, err)
	}
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

func (r *resolver) one(ctx context.Context, e *corev1.EnvVar) error {
	if e.ValueFrom == nil {
		r.set(e.Name, Expand(e.Value, r.lookup))
		return nil
	}
	value, ok, err := r.valueFrom(ctx, e.ValueFrom)
	if err != nil {
		return fmt.Errorf("variable %s: %w", e.Name, err)
	}
	if ok {
		r.set(e.Name, value)
	}
	return nil
}

// valueFrom also tells whether there is a value: an optional reference may have none.
func (r *resolver) valueFrom(ctx context.Context, from *corev1.EnvVarSource) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		value, err := Field(r.pod, from.FieldRef.FieldPath, r.facts)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := Resource(r.pod, r.container, from.ResourceFieldRef, r.facts.Allocatable)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := r.source.ConfigMap(ctx, r.pod.Namespace, ref.Name)
		if err != nil {
			return "", false, unlessOptional(ref.Optional, err, "configmap", ref.Name)
		}
		value, ok := object.Data[ref.Key]
		return value, ok, missingKey(ok, ref.Optional, ref.Key, "configmap", ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := r.source.Secret(ctx, r.pod.Namespace, ref.Name)
		if err != nil {
			return "", false, unlessOptional(ref.Optional, err, "secret", ref.Name)
		}
		value, ok := object.Data[ref.Key]
		return string(value), ok, missingKey(ok, ref.Optional, ref.Key, "secret", ref.Name)
	default:
		return "", false, fmt.Errorf("this source of a value is not supported")
	}
}

func missingKey(ok bool, optional *bool, key, kind, name string) error {
	if ok || optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("no key %q in %s %q", key, kind, name)
}
