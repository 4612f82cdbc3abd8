package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/petrelrun/petrel/test/cluster"
)

// settleLimit bounds every wait of a row.
const settleLimit = 2 * time.Minute

// guestPort is the port that guests of these rows serve.
const guestPort = 8080

// nodeReady waits for the cluster's node: its condition, and a heartbeat that is not of an earlier run.
func nodeReady(ctx context.Context, c *cluster.Cluster, since time.Time) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	return cluster.Until(ctx, settleLimit, "the node to be ready", func() error {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, node.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if isReady(&node) && lease.Spec.RenewTime != nil && !lease.Spec.RenewTime.Time.Before(since) {
				return nil
			}
		}
		return fmt.Errorf("%d nodes, none ready", len(nodes.Items))
	})
}

func isReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// deployment describes so many pods of an image.
func deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	container := corev1.Container{Name: "main", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: guestPort}}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{container}},
			},
		},
	}
}

// service describes an app's Service: what gives it an app URL. Without a selector its endpoints are the caller's.
func service(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"petrel.run/app": name}},
		Spec: corev1.ServiceSpec{
			Selector: selector,
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(guestPort)}},
		},
	}
}

// ready tells whether a pod is.
func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// available waits until a Deployment has so many available pods, and no others.
func available(ctx context.Context, c *cluster.Cluster, name string, replicas int32) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	return cluster.Until(ctx, settleLimit, fmt.Sprintf("%d pods of %s", replicas, name), func() error {
		d, err := client.AppsV1().Deployments("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.AvailableReplicas != replicas || d.Status.Replicas != replicas {
			return fmt.Errorf("%d of %d are available", d.Status.AvailableReplicas, d.Status.Replicas)
		}
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return err
		}
		if len(pods.Items) != int(replicas) {
			return fmt.Errorf("%d pods are there", len(pods.Items))
		}
		return nil
	})
}

// podAddresses answers where an app's pods listen.
func podAddresses(ctx context.Context, c *cluster.Cluster, name string) ([]string, error) {
	client, err := c.Client()
	if err != nil {
		return nil, err
	}
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, pod := range pods.Items {
		if ready(&pod) {
			out = append(out, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(guestPort)))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find pods of %s: none is ready", name)
	}
	return out, nil
}

// create creates the objects in the default namespace.
func create(ctx context.Context, c *cluster.Cluster, objects ...metav1.Object) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.Deployment:
			_, err = client.AppsV1().Deployments("default").Create(ctx, o, metav1.CreateOptions{})
		case *corev1.Service:
			_, err = client.CoreV1().Services("default").Create(ctx, o, metav1.CreateOptions{})
		case *discoveryv1.EndpointSlice:
			_, err = client.DiscoveryV1().EndpointSlices("default").Create(ctx, o, metav1.CreateOptions{})
		default:
			err = fmt.Errorf("create: no client for %T", object)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
