package apiserver

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// selfSubjectReviews answer who asks. Nothing of them is stored, so the table of resources does not have them.
var selfSubjectReviews = &resource.Definition{
	ResourceInfo: api.ResourceInfo{
		GVR: authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews"),
		GVK: authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"),
	},
	Singular: "selfsubjectreview",
	Verbs:    []string{"create"},
}

func (s *Server) routeWhoAmI() {
	d := selfSubjectReviews
	s.handle(http.MethodPost, root(d.GVR.GroupVersion())+"/"+d.GVR.Resource, d, "", "create", s.whoAmI)
}

// whoAmI answers what the Authenticator found out: `kubectl auth whoami`.
func (s *Server) whoAmI(c echo.Context) error {
	f, err := negotiate(c.Request().Header.Get("Accept"), mediaPlain|mediaProtobuf)
	if err != nil {
		return err
	}
	call, err := s.call(c, "")
	if err != nil {
		return err
	}
	obj, err := s.decode(c, selfSubjectReviews.GVK, call)
	if err != nil {
		return err
	}
	review, ok := obj.(*authenticationv1.SelfSubjectReview)
	if !ok {
		return fmt.Errorf("review subject: got a %T", obj)
	}
	user, ok := auth.UserFrom(c.Request().Context())
	if !ok {
		return apierrors.NewInternalError(errors.New("the request has no user"))
	}
	review.CreationTimestamp = metav1.Now()
	review.Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{
		Username: user.Name, UID: user.UID, Groups: user.Groups,
	}}
	return write(c, http.StatusCreated, f, selfSubjectReviews.GVK, review)
}
