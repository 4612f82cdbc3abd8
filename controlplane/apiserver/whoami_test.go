package apiserver

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
)

func TestWhoAmI(t *testing.T) {
	for _, contentType := range []string{contentJSON, contentProtobuf} {
		got, err := client(t, contentType).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if u := got.Status.UserInfo; u.Username != auth.AdminName || !slices.Contains(u.Groups, auth.GroupMasters) || got.CreationTimestamp.IsZero() {
			t.Fatalf("%s: got %+v", contentType, got)
		}
	}
	resp, body := request(t, "GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "")
	if resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusNotFound {
		t.Fatalf("reviews can be listed: %s %s", resp.Status, body)
	}
	resp, body = request(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"kind":"Pod","apiVersion":"v1"}`, "Content-Type: application/json")
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "SelfSubjectReview") {
		t.Fatalf("%s %s", resp.Status, body)
	}
}
