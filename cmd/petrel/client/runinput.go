package client

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// inputSettle is how long a program that takes no input has to turn out to have ended.
const inputSettle = 5 * time.Second

// streamWithInput is stream for a program that reads petrel's standard input. What it prints comes by its log all the same,
// so that nothing is lost of what it says before it is attached to.
func (r *runner) streamWithInput(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if err := r.feed(ctx); err != nil {
			cancel(err) // it would wait for its input forever
		}
	}()
	err := r.stream(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	<-fed
	return err
}

// feed gives the program petrel's standard input, to its end. A program that has ended without it wants none.
func (r *runner) feed(ctx context.Context) error {
	to := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(r.pod.Namespace).Name(r.pod.Name).SubResource("attach").
		VersionedParams(&corev1.PodAttachOptions{Container: runContainer, Stdin: true}, scheme.ParameterCodec)
	attached, err := remotecommand.NewWebSocketExecutor(r.attachConfig(), http.MethodGet, to.URL().String())
	if err == nil {
		err = attached.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: r.In})
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	select { // one that has ended ends its log, and with it this; the API hears of the end a little later
	case <-ctx.Done():
		return nil
	case <-time.After(inputSettle):
	}
	pod, gone := r.client.CoreV1().Pods(r.pod.Namespace).Get(ctx, r.pod.Name, metav1.GetOptions{})
	if gone != nil {
		return nil // whoever waits for its end tells
	}
	if state := stateOf(pod); state != nil && state.Terminated != nil {
		return nil
	}
	return fmt.Errorf("give the program its input: %w", err)
}

// attachConfig is the way to the server for connections that are no plain requests.
func (o *options) attachConfig() *rest.Config {
	if o.credentials == nil {
		return &rest.Config{Host: o.server, UserAgent: userAgent}
	}
	config := rest.CopyConfig(o.credentials.config)
	config.Host, config.UserAgent = o.server, userAgent
	return config
}
