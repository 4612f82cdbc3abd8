package credentials

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func secret(kind corev1.SecretType, content string) *corev1.Secret {
	key := corev1.DockerConfigJsonKey
	if kind == corev1.SecretTypeDockercfg {
		key = corev1.DockerConfigKey
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pull"}, Type: kind, Data: map[string][]byte{key: []byte(content)}}
}

// logins makes an entry for each address, whose user is the address.
func logins(addresses ...string) string {
	var out []string
	for _, a := range addresses {
		out = append(out, fmt.Sprintf("%q:{\"username\":%q,\"password\":\"p\"}", a, a))
	}
	return "{" + strings.Join(out, ",") + "}"
}

func TestWhichEntriesAreForAnImage(t *testing.T) {
	for _, tt := range []struct {
		image     string
		addresses []string
		want      string
	}{
		{"nginx", []string{"https://index.docker.io/v1/", "quay.io"}, "https://index.docker.io/v1/"},
		{"team/app:v1", []string{"docker.io"}, "docker.io"},
		{"docker.io/team/app", []string{"registry-1.docker.io/v2/"}, "registry-1.docker.io/v2/"},
		{"nginx", []string{"docker.io/library"}, "docker.io/library"},
		{"r.test/a/b:v1", []string{"r.test", "r.test/a", "r.test/a/b", "r.test/a/bc", "other.test"}, "r.test/a/b r.test/a r.test"},
		{"r.test/ab", []string{"r.test/a"}, ""},
		{"r.test:5000/a@sha256:0", []string{"r.test", "r.test:5000", "r.test:5001"}, "r.test:5000"},
		{"localhost/a", []string{"localhost"}, "localhost"},
		{"x.r.test/a", []string{"*.r.test", "r.test", "*.*.r.test", "x.r.test", "?.r.test/a"}, "?.r.test/a x.r.test *.r.test"},
		{"r.test/a", []string{"http://r.test"}, "http://r.test"},
		{"[::1]:5000/a", []string{"[::1]:5000"}, "[::1]:5000"},
		{"r.test/a", nil, ""},
	} {
		t.Run(tt.image, func(t *testing.T) {
			for kind, content := range map[corev1.SecretType]string{
				corev1.SecretTypeDockerConfigJson: `{"auths":` + logins(tt.addresses...) + `}`, corev1.SecretTypeDockercfg: logins(tt.addresses...),
			} {
				var k Keyring
				if err := k.Add(secret(kind, content)); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, a := range k.For(tt.image) {
					got = append(got, a.GetUsername())
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%s: %q, want %q", kind, got, tt.want)
				}
			}
		})
	}
}

func TestFormsOfALogin(t *testing.T) {
	var k Keyring
	content := `{"auths":{
		"a.test":{"auth":"dTpwYTpzcw==","username":"old","email":"x@y"},
		"b.test":{"identitytoken":"t"},
		"c.test":{"registrytoken":"r"}},"credHelpers":{"d.test":"ecr"}}`
	if err := k.Add(secret(corev1.SecretTypeDockerConfigJson, content)); err != nil {
		t.Fatal(err)
	}
	if err := k.Add(secret(corev1.SecretTypeDockercfg, `{"a.test":{"auth":"dTpwYTpzcw=="}}`)); err != nil {
		t.Fatal(err)
	}
	if got := k.For("a.test/x"); len(got) != 1 || got[0].GetUsername() != "u" || got[0].GetPassword() != "pa:ss" {
		t.Errorf("auth: %v", got)
	}
	if got := k.For("b.test/x"); len(got) != 1 || got[0].GetIdentityToken() != "t" {
		t.Errorf("identity token: %v", got)
	}
	if got := k.For("c.test/x"); len(got) != 1 || got[0].GetRegistryToken() != "r" {
		t.Errorf("registry token: %v", got)
	}
}

func TestWhatCannotBeReadIsToldWithoutTheSecret(t *testing.T) {
	var many []string
	for i := range maxEntries + 1 {
		many = append(many, fmt.Sprintf("h%d.test", i))
	}
	for name, s := range map[string]*corev1.Secret{
		"type":     {Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"x": []byte("HIDDEN")}},
		"no data":  {Type: corev1.SecretTypeDockerConfigJson},
		"no JSON":  secret(corev1.SecretTypeDockerConfigJson, "HIDDEN"),
		"base64":   secret(corev1.SecretTypeDockercfg, `{"a.test":{"auth":"HIDDEN!"}}`),
		"no colon": secret(corev1.SecretTypeDockercfg, `{"a.test":{"auth":"SElEREVO"}}`),
		"no host":  secret(corev1.SecretTypeDockercfg, `{"https:///v1/":{"username":"HIDDEN"}}`),
		"pattern":  secret(corev1.SecretTypeDockercfg, `{"[a.test":{"username":"HIDDEN"}}`),
		"too many": secret(corev1.SecretTypeDockercfg, logins(many...)),
	} {
		t.Run(name, func(t *testing.T) {
			var k Keyring
			err := k.Add(s)
			if err == nil || strings.Contains(err.Error(), "HIDDEN") {
				t.Errorf("error %v", err)
			}
			if len(k.entries) != 0 {
				t.Errorf("entries of it were taken: %d", len(k.entries))
			}
		})
	}
}

func FuzzKeyring(f *testing.F) {
	f.Add(`{"https://index.docker.io/v1/":{"auth":"dTpw"},"*.a.test:5000/x":{"username":"u"}}`, "b.a.test:5000/x/y:z")
	f.Fuzz(func(t *testing.T, content, image string) {
		var k Keyring
		if err := k.Add(secret(corev1.SecretTypeDockercfg, content)); err != nil {
			return
		}
		if got := k.For(image); len(got) > maxShown {
			t.Fatalf("%d are shown", len(got))
		}
	})
}
