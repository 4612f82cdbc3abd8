package staticpods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const web = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  uid: mine
  labels: {app: web}
spec:
  containers:
  - name: main
    image: nginx
    ports: [{containerPort: 80}]
    resources: {limits: {memory: 1Mi}}
    livenessProbe: {httpGet: {port: 80}}
  volumes:
  - name: scratch
`

func decode(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p, err := Decode([]byte(text), "node-1")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecode(t *testing.T) {
	p := decode(t, web)
	if p.Name != "web-node-1" || p.Namespace != "default" || p.Spec.NodeName != "node-1" || p.Labels["app"] != "web" {
		t.Errorf("pod = %+v", p.ObjectMeta)
	}
	if p.UID == "" || p.UID == "mine" || string(p.UID) != p.Annotations[annotationHash] || p.ResourceVersion == "" || !IsStatic(p) || IsMirror(p) {
		t.Errorf("identity = %+v", p.ObjectMeta)
	}
	c := p.Spec.Containers[0]
	if p.Spec.RestartPolicy != corev1.RestartPolicyAlways || *p.Spec.TerminationGracePeriodSeconds != 30 || c.ImagePullPolicy != corev1.PullAlways ||
		c.Ports[0].Protocol != corev1.ProtocolTCP || c.LivenessProbe.PeriodSeconds != 10 || c.LivenessProbe.HTTPGet.Path != "/" ||
		c.Resources.Requests.Memory().Value() != 1<<20 || p.Spec.Volumes[0].EmptyDir == nil {
		t.Errorf("defaults are missing: %+v", p.Spec)
	}
	if again := decode(t, web); again.UID != p.UID {
		t.Error("the same text is another pod")
	}
	if other := decode(t, strings.Replace(web, "80", "81", 1)); other.UID == p.UID {
		t.Error("another text is the same pod")
	}
	if elsewhere, err := Decode([]byte(web), "node-2"); err != nil || elsewhere.UID == p.UID {
		t.Errorf("the pod of another node is the same: %v", err)
	}
}

func TestPullPolicies(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "nginx:1": corev1.PullIfNotPresent, "host:5000/nginx": corev1.PullAlways,
		"host:5000/nginx:1": corev1.PullIfNotPresent, "nginx@sha256:" + strings.Repeat("a", 64): corev1.PullIfNotPresent,
	} {
		p := decode(t, strings.Replace(web, "image: nginx", "image: "+image, 1))
		if got := p.Spec.Containers[0].ImagePullPolicy; got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	with := func(more string) string { return strings.Replace(web, "spec:\n", "spec:\n"+more+"\n", 1) }
	volume := func(source string) string {
		return strings.Replace(web, "name: scratch", "name: scratch\n    "+source, 1)
	}
	env := func(source string) string {
		return strings.Replace(web, "    image: nginx\n", "    image: nginx\n    "+source+"\n", 1)
	}
	for text, want := range map[string]string{
		"":          "want a Pod",
		"{":         "read pod",
		"kind: Pod": "want a Pod of v1",
		strings.Replace(web, "kind: Pod", "kind: Service", 1):                                       "want a Pod",
		strings.Replace(web, "spec:", "spec:\n  nonsense: 1", 1):                                    "nonsense",
		strings.Replace(web, "name: web", "name: Web", 1):                                           "name",
		strings.Replace(web, "name: web", "name: web\n  namespace: a.b", 1):                         "namespace",
		strings.Replace(web, "name: main", "name: main_", 1):                                        "container",
		strings.Replace(web, "image: nginx", "image: ''", 1):                                        "image",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}":                                  "no containers",
		with("  nodeName: other"):                                                                   "node",
		with("  serviceAccountName: admin"):                                                         "service account",
		with("  imagePullSecrets: [{name: a}]"):                                                     "pull secrets",
		with("  ephemeralContainers: [{name: a, image: b}]"):                                        "ephemeral",
		volume("configMap: {name: a}"):                                                              "config map",
		volume("secret: {secretName: a}"):                                                           "secret",
		volume("persistentVolumeClaim: {claimName: a}"):                                             "claim",
		volume("projected: {sources: [{secret: {name: a}}]}"):                                       "projection",
		volume("csi: {driver: a}"):                                                                  "may need a secret",
		env("envFrom: [{secretRef: {name: a}}]"):                                                    "variables",
		env("env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}}}]"):                    "variables",
		strings.Replace(web, "name: web", "name: web\n  annotations: {"+AnnotationMirror+": x}", 1): "mirror",
	} {
		if p, err := Decode([]byte(text), "node-1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", text, p, err, want)
		}
	}
	for _, text := range []string{volume("hostPath: {path: /x}"), volume("projected: {sources: [{downwardAPI: {items: []}}]}"), with("  serviceAccountName: default"),
		env("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]")} {
		decode(t, text)
	}
}

func TestMirror(t *testing.T) {
	static := decode(t, web)
	m := Mirror(static, "node-uid")
	if !IsMirror(m) || IsStatic(m) || !Mirrors(m, static) || m.UID != "" || m.Name != static.Name || m.OwnerReferences[0].UID != "node-uid" {
		t.Errorf("mirror = %+v", m.ObjectMeta)
	}
	if IsMirror(static) {
		t.Error("the static pod has become a mirror")
	}
	m.Spec.Containers[0].Name = "changed"
	if static.Spec.Containers[0].Name != "main" || Mirrors(m, decode(t, strings.Replace(web, "80", "81", 1))) || Mirror(static, "").OwnerReferences != nil {
		t.Error("mirror and pod share what they must not")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(web))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"b","lifecycle":{"preStop":{"httpGet":{}}}}],"initContainers":[null]}}`))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, startupProbe: {grpc: {port: 1}}}]}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := Decode(content, "node-1")
		if err != nil {
			return
		}
		if !IsStatic(p) || p.Spec.NodeName != "node-1" || len(p.UID) != 32 || Refers(&p.Spec) != "" || !Mirrors(Mirror(p, ""), p) {
			t.Errorf("pod = %+v", p)
		}
	})
}
