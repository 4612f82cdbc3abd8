package auth

import (
	"context"
	"net/http"
)

// User is who asks.
type User struct {
	Name   string
	UID    string
	Groups []string
}

// GroupMasters is the group that may do everything, by Kubernetes' convention.
const GroupMasters = "system:masters"

// Authenticator tells who sent a request. An error is a *Refusal where the request is at fault.
type Authenticator interface {
	Authenticate(r *http.Request) (*User, error)
}

// Attributes are what an Authorizer decides on: the words of Kubernetes' RBAC.
type Attributes struct {
	User *User
	// Verb is get, list, watch, create, update, patch, delete or deletecollection; for a path that is no resource
	// the HTTP method in lower case.
	Verb string
	// Resource requests name Group, Version, Resource, Subresource, Namespace and Name; others only the Path. A list or a
	// watch has the Name that its field selector narrows it to.
	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	Path                                  string
}

// IsResource tells whether the request is for a resource.
func (a *Attributes) IsResource() bool { return a.Resource != "" }

// Authorizer decides whether a request may go on; nil is yes, a *Refusal says why not.
type Authorizer interface {
	Authorize(ctx context.Context, a *Attributes) error
}

// Refusal is an answer to a request that may not go on.
type Refusal struct {
	Status int // http.StatusUnauthorized or http.StatusForbidden
	// Message names the cause and what to do about it.
	Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

type userKey struct{}

// WithUser keeps the user with the request.
func WithUser(ctx context.Context, u *User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom finds the user again.
func UserFrom(ctx context.Context) (*User, bool) {
	u, ok := ctx.Value(userKey{}).(*User)
	return u, ok
}
