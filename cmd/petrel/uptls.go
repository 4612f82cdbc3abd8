package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/worker/identity"
)

const (
	// ownTokenLife bounds the token by which the worker in this process joins; it is deleted when it has.
	ownTokenLife = 10 * time.Minute
	// ownTokenPoll is how often is looked whether the API knows the token that was just made.
	ownTokenPoll = 5 * time.Millisecond
)

// joinOwn makes the worker in this process a node of the control plane in this process, in the way of every other
// machine. Without TLS there is nothing to join, and the identity is nil.
func (cp *controlPlane) joinOwn(ctx context.Context, o *workerOptions, dir string, logger *slog.Logger) (*identity.Identity, error) {
	if cp.security == nil {
		return nil, nil
	}
	if _, err := os.Stat(filepath.Join(dir, identity.ClientName)); errors.Is(err, os.ErrNotExist) {
		token, done, err := cp.ownToken(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		o.Join.Token = token.String()
	}
	return joinCluster(ctx, o, dir, nil, logger)
}

// ownToken makes a token and waits until it is good; done deletes it.
func (cp *controlPlane) ownToken(ctx context.Context) (token jointoken.Token, done func(), err error) {
	token.CAHash = cp.security.cluster.Hash()
	if token.Bootstrap, err = jointoken.New(); err != nil {
		return token, nil, err
	}
	client := cp.objects.Client("petrel-up")
	secret := join.TokenSecret(token.Bootstrap, time.Now().Add(ownTokenLife), "the worker beside the control plane")
	if _, err := client.Create(ctx, secret); err != nil {
		return token, nil, fmt.Errorf("make token: %w", err)
	}
	done = func() {
		if err := client.Delete(context.WithoutCancel(ctx), secret, metav1.DeleteOptions{}); err != nil {
			cp.security.log.Warn("the worker's token stays until it expires", "error", err)
		}
	}
	for {
		_, known, err := cp.join.BootstrapToken(ctx, token.ID)
		if err != nil {
			done()
			return token, nil, fmt.Errorf("look up token: %w", err)
		}
		if known {
			return token, done, nil
		}
		select {
		case <-ctx.Done():
			done()
			return token, nil, context.Cause(ctx)
		case <-time.After(ownTokenPoll):
		}
	}
}

// transport is the way of this process to its own API; nil: plain HTTP.
func (cp *controlPlane) transport() http.RoundTripper {
	if cp.security == nil {
		return nil
	}
	return cp.security.own()
}
