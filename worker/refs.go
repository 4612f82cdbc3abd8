package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// references gives a pod the config maps and secrets it names: from the API and, when that is away, as the pod last
// got them.
type references struct {
	client kubernetes.Interface
	dir    string
	// secrets names the directory for secrets.
	secrets func() (string, error)
}

// ConfigMap implements env.Source.
func (r *references) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return fetch(ctx, filepath.Join(r.dir, "configmap-"+name+".json"), func(ctx context.Context) (*corev1.ConfigMap, error) {
		object, err := r.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &corev1.ConfigMap{Data: object.Data, BinaryData: object.BinaryData}, nil
	})
}

// Secret implements env.Source.
func (r *references) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	dir, err := r.secrets()
	if err != nil {
		return nil, err
	}
	return fetch(ctx, filepath.Join(dir, "secret-"+name+".json"), func(ctx context.Context) (*corev1.Secret, error) {
		object, err := r.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &corev1.Secret{Type: object.Type, Data: object.Data}, nil
	})
}

func fetch[T any](ctx context.Context, file string, get func(context.Context) (*T, error)) (*T, error) {
	short, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	object, err := get(short)
	switch {
	case err == nil:
		return object, writeJSON(file, object)
	case apierrors.IsNotFound(err) || ctx.Err() != nil:
		return nil, err
	}
	kept := new(T)
	if content, readErr := os.ReadFile(file); readErr != nil || json.Unmarshal(content, kept) != nil {
		return nil, err
	}
	return kept, nil
}

// writeJSON puts a private file in place whole. It does not wait for the disk: what a power cut loses here the API
// still has.
func writeJSON(path string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	aside := path + ".partial"
	err = os.WriteFile(aside, content, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), privateDir); err == nil {
			err = os.WriteFile(aside, content, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
