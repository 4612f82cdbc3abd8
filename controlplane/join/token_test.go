package join

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
)

func newToken(t *testing.T) jointoken.Bootstrap {
	t.Helper()
	b, err := jointoken.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTokensAreSecrets(t *testing.T) {
	b := newToken(t)
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	secret := TokenSecret(b, expires, "for the lab")
	client := registry.Client("test")
	created, err := client.Create(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	tokens := &auth.BootstrapTokens{Lookup: controller.BootstrapToken}
	var user *auth.User
	until(t, "the token is known", func() bool {
		user, _ = tokens.User(t.Context(), b.String())
		return user != nil
	})
	if user.Name != "system:bootstrap:"+b.ID || !user.Is(auth.GroupBootstrappers) {
		t.Fatalf("%+v", user)
	}
	shown, err := ReadToken(created.(*corev1.Secret))
	if err != nil || shown.Description != "for the lab" || !shown.Expires.Equal(expires) || len(shown.Usages) != 1 || shown.Usages[0] != "authentication" {
		t.Fatalf("%+v %v", shown, err)
	}

	defer clock.set(0)
	gone := func() bool {
		_, err := client.Get(t.Context(), secret)
		return apierrors.IsNotFound(err)
	}
	clock.set(time.Hour + time.Minute)
	if again, err := controller.token(t.Context(), secret.Namespace, secret.Name); err != nil || again < 58*time.Minute || gone() {
		t.Fatalf("an expired token goes at once: who shows it is not told why (%s, %v)", again, err)
	}
	clock.set(time.Hour + expiredKept + time.Minute)
	controller.queue.Add(key{tokenKey, secret.Namespace, secret.Name})
	until(t, "the token is gone", gone)
	until(t, "the token is not known", func() bool {
		_, err := tokens.User(t.Context(), b.String())
		return auth.IsUnauthorized(err)
	})
}

func TestSecretsThatAreNoTokens(t *testing.T) {
	b := newToken(t)
	for name, spoil := range map[string]func(*corev1.Secret){
		"another name": func(s *corev1.Secret) { s.Name = TokenNamePrefix + "zzzzzz" },
		"another type": func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"elsewhere":    func(s *corev1.Secret) { s.Namespace = "default" },
		"no secret":    func(s *corev1.Secret) { delete(s.Data, keySecret) },
		"a bad secret": func(s *corev1.Secret) { s.Data[keySecret] = []byte("UPPER") },
		"a bad end":    func(s *corev1.Secret) { s.Data[keyExpiration] = []byte("tomorrow") },
	} {
		s := TokenSecret(b, time.Time{}, "")
		s.Data = map[string][]byte{}
		for k, v := range s.StringData {
			s.Data[k] = []byte(v)
		}
		if _, err := tokenOf(s); err != nil {
			t.Fatal(err)
		}
		spoil(s)
		if _, err := tokenOf(s); err == nil || strings.Contains(err.Error(), b.Secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok, err := controller.BootstrapToken(t.Context(), "../x"); ok || err != nil {
		t.Fatal(ok, err)
	}
	grouped := TokenSecret(b, time.Time{}, "")
	grouped.Data = map[string][]byte{keyID: []byte(b.ID), keySecret: []byte(b.Secret), keyGroups: []byte("system:bootstrappers:a, system:bootstrappers:b,")}
	got, err := tokenOf(grouped)
	if err != nil || len(got.Groups) != 2 || got.Authenticates {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestNodesReadWhatTheirPodsUse(t *testing.T) {
	client := registry.Client("test")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "uses"}, Spec: corev1.PodSpec{
		NodeName:         "n1",
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		Volumes: []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "vol"}}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "part"}}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "part"}}},
			}}}},
			{Name: "f", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example", NodePublishSecretRef: &corev1.LocalObjectReference{Name: "inline"}}}},
			{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "e", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *apiresource.NewQuantity(1, apiresource.BinarySI)}},
			}}}}},
		},
		InitContainers: []corev1.Container{{Name: "i", Image: "i", EnvFrom: []corev1.EnvFromSource{
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "from"}}},
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "from"}}}}}},
		Containers: []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{
			{Name: "A", Value: "plain"},
			{Name: "B", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}, Key: "k"}}},
			{Name: "C", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}, Key: "k"}}},
		}}},
	}}
	made := func(obj api.Object) {
		t.Helper()
		if _, err := client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.Delete(context.Background(), obj, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
				t.Error(err)
			}
		})
	}
	made(pod)
	volumeWith := func(name, claim, secret string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: *apiresource.NewQuantity(1, apiresource.BinarySI)},
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: claim},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "d.example", VolumeHandle: name, NodeStageSecretRef: &corev1.SecretReference{Namespace: "default", Name: secret}},
			},
		}}
	}
	for _, v := range []*corev1.PersistentVolume{volumeWith("used", "data", "stage"), volumeWith("unused", "nobodys", "strange")} {
		made(v)
	}
	for _, use := range []string{"secrets/stage", "secrets/inline", "secrets/pull", "persistentvolumeclaims/data", "persistentvolumeclaims/uses-e", "secrets/vol", "configmaps/vol", "secrets/part", "configmaps/part", "secrets/from", "configmaps/from", "secrets/key", "configmaps/key"} {
		resource, name, _ := strings.Cut(use, "/")
		if !controller.NodeReads(t.Context(), "n1", resource, "default", name) {
			t.Errorf("the pod's node may not read %s", use)
		}
	}
	for _, use := range [][4]string{{"n2", "secrets", "default", "vol"}, {"n2", "secrets", "default", "stage"}, {"n1", "secrets", "default", "strange"}, {"n1", "configmaps", "default", "stage"}, {"n1", "secrets", "kube-system", "vol"}, {"n1", "configmaps", "default", "pull"}} {
		if controller.NodeReads(t.Context(), use[0], use[1], use[2], use[3]) {
			t.Errorf("%v may be read", use)
		}
	}
}
