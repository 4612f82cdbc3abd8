package volume

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/worker/env"
)

type file struct {
	content []byte
	mode    fs.FileMode
}

// defaultMode is the API's default for the files of all these kinds.
const defaultMode = 0o644

const everyoneReads = 0o444

// collector gathers the files of one volume.
type collector struct {
	ctx    context.Context
	pod    *corev1.Pod
	facts  env.Facts
	source env.Source
	files  map[string]file
}

func (c *collector) volume(v *corev1.Volume) error {
	switch {
	case v.ConfigMap != nil:
		return c.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, v.ConfigMap.DefaultMode)
	case v.Secret != nil:
		return c.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, v.Secret.DefaultMode)
	case v.DownwardAPI != nil:
		return c.downward(v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if err := c.projected(&v.Projected.Sources[i], v.Projected.DefaultMode); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("%w: want configMap, secret, downwardAPI, projected, emptyDir, hostPath, persistentVolumeClaim or csi", ErrUnsupported)
	}
}

// open lets everybody on the machine who can reach the volume read its files.
func (c *collector) open() {
	for name, f := range c.files {
		f.mode |= everyoneReads
		c.files[name] = f
	}
}

func (c *collector) projected(p *corev1.VolumeProjection, mode *int32) error {
	switch {
	case p.ConfigMap != nil:
		return c.configMap(p.ConfigMap.Name, p.ConfigMap.Items, p.ConfigMap.Optional, mode)
	case p.Secret != nil:
		return c.secret(p.Secret.Name, p.Secret.Items, p.Secret.Optional, mode)
	case p.DownwardAPI != nil:
		return c.downward(p.DownwardAPI.Items, mode)
	case p.ServiceAccountToken != nil:
		return fmt.Errorf("projection of a service account token: this cluster issues none: %w", ErrUnsupported)
	default:
		return fmt.Errorf("projection: %w: want configMap, secret or downwardAPI", ErrUnsupported)
	}
}

func (c *collector) configMap(name string, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	object, err := c.source.ConfigMap(c.ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, optional, "configmap", name)
	}
	data := make(map[string][]byte, len(object.Data)+len(object.BinaryData))
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return c.keys(data, items, optional, mode, "configmap", name)
}

func (c *collector) secret(name string, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	object, err := c.source.Secret(c.ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, optional, "secret", name)
	}
	return c.keys(object.Data, items, optional, mode, "secret", name)
}

func absent(err error, optional *bool, kind, name string) error {
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get %s %q: %w", kind, name, err)
	}
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

func (c *collector) keys(data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode *int32, kind, name string) error {
	if len(items) == 0 {
		for key, value := range data {
			c.files[key] = file{value, fileMode(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && (optional == nil || !*optional) {
			return fmt.Errorf("no key %q in %s %q", item.Key, kind, name)
		}
		if ok {
			c.files[item.Path] = file{value, fileMode(item.Mode, mode)}
		}
	}
	return nil
}

func (c *collector) downward(items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for i := range items {
		item := &items[i]
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = env.Field(c.pod, item.FieldRef.FieldPath, c.facts)
		case item.ResourceFieldRef != nil:
			value, err = env.Resource(c.pod, nil, item.ResourceFieldRef, c.facts.Allocatable)
		}
		if err != nil {
			return err
		}
		c.files[item.Path] = file{[]byte(value), fileMode(item.Mode, mode)}
	}
	return nil
}

func fileMode(own, volume *int32) fs.FileMode {
	switch {
	case own != nil:
		return fs.FileMode(*own) & fs.ModePerm
	case volume != nil:
		return fs.FileMode(*volume) & fs.ModePerm
	default:
		return defaultMode
	}
}

// Closed tells whether the pod asks for files from the API that not everyone may read.
func Closed(p *corev1.Pod) bool {
	closed := func(mode *int32) bool { return mode != nil && *mode&everyoneReads != everyoneReads }
	keys := func(items []corev1.KeyToPath) bool {
		return slices.ContainsFunc(items, func(k corev1.KeyToPath) bool { return closed(k.Mode) })
	}
	fields := func(items []corev1.DownwardAPIVolumeFile) bool {
		return slices.ContainsFunc(items, func(f corev1.DownwardAPIVolumeFile) bool { return closed(f.Mode) })
	}
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		switch {
		case v.ConfigMap != nil:
			return closed(v.ConfigMap.DefaultMode) || keys(v.ConfigMap.Items)
		case v.Secret != nil:
			return closed(v.Secret.DefaultMode) || keys(v.Secret.Items)
		case v.DownwardAPI != nil:
			return closed(v.DownwardAPI.DefaultMode) || fields(v.DownwardAPI.Items)
		case v.Projected != nil:
			return closed(v.Projected.DefaultMode) || slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
				return s.ConfigMap != nil && keys(s.ConfigMap.Items) || s.Secret != nil && keys(s.Secret.Items) || s.DownwardAPI != nil && fields(s.DownwardAPI.Items)
			})
		}
		return false
	})
}
