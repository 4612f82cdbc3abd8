package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// apiLogs opens pods' logs the way every client does, through the API server's pods/log: the way to a node, and who
// may read what, are decided there and nowhere else.
type apiLogs struct {
	address   func(context.Context) (string, error) // the API's URL
	transport http.RoundTripper                     // nil: plain HTTP

	once   sync.Once
	client kubernetes.Interface
	err    error
}

// Open streams one container's log.
func (l *apiLogs) Open(ctx context.Context, namespace, pod string, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	url, err := l.address(ctx)
	if err != nil {
		return nil, err
	}
	l.once.Do(func() { l.client, l.err = newClient(url, l.transport, "petrel-apps") })
	if l.err != nil {
		return nil, l.err
	}
	return l.client.CoreV1().Pods(namespace).GetLogs(pod, opts).Stream(ctx)
}

// newClient makes a typed client that leaves limiting its rate to the server, which has named limits for that.
// The transport brings credentials; nil: there are none.
func newClient(server string, transport http.RoundTripper, userAgent string) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:      server,
		Transport: transport,
		UserAgent: userAgent,
		QPS:       -1,
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make API client for %s: %w", server, err)
	}
	return client, nil
}
