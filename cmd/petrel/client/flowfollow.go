package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/flows"
)

const (
	// flowRetry is when a node that broke off is asked again, flowNodes how often it is looked whether nodes have come.
	flowRetry = 2 * time.Second
	flowNodes = 5 * time.Second
)

// nodeFlow is a flow with the node that told it.
type nodeFlow struct {
	Node string `json:"node"`
	ebpfproxy.Flow
}

// flowFollower asks every node for its flows and prints what they tell.
type flowFollower struct {
	o      *flowsOptions
	client kubernetes.Interface

	events  chan nodeFlow
	notices chan string
	ended   chan error
	asked   map[string]bool // nodes that are being asked, or refused for good
}

func newFlowFollower(client kubernetes.Interface, o *flowsOptions) *flowFollower {
	return &flowFollower{o: o, client: client, events: make(chan nodeFlow), notices: make(chan string), ended: make(chan error), asked: map[string]bool{}}
}

// run prints until ctx ends or no node has flows to tell; the error is the last node's then.
func (f *flowFollower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	open, err := f.askNodes(ctx)
	defer func() { // every node's goroutine has ended when this returns
		cancel()
		for open > 0 {
			select {
			case <-f.events:
			case <-f.notices:
			case <-f.ended:
				open--
			}
		}
	}()
	if err != nil {
		return err
	}
	look := time.NewTicker(flowNodes)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-f.events:
			if err := f.o.line(&e); err != nil {
				return err
			}
		case notice := <-f.notices:
			fmt.Fprintln(f.o.Err, notice)
		case err := <-f.ended:
			if open--; ctx.Err() != nil {
				return nil
			}
			if open == 0 {
				return err
			}
			fmt.Fprintf(f.o.Err, "petrel: %v\n", err)
		case <-look.C:
			if !f.o.follow {
				continue
			}
			if more, err := f.askNodes(ctx); err == nil { // an API that is away is asked again
				open += more
			}
		}
	}
}

// askNodes begins to ask the nodes that are not asked yet, and answers how many.
func (f *flowFollower) askNodes(ctx context.Context) (begun int, err error) {
	list, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("list nodes: %w", err)
	}
	var known []string
	for i := range list.Items {
		name := list.Items[i].Name
		known = append(known, name)
		if f.asked[name] || len(f.o.nodes) > 0 && !slices.Contains(f.o.nodes, name) {
			continue
		}
		f.asked[name] = true
		begun++
		go func() { f.ended <- f.follow(ctx, name) }()
	}
	for _, name := range f.o.nodes {
		if !slices.Contains(known, name) {
			return begun, fmt.Errorf("there is no node %s", name)
		}
	}
	if len(f.asked) == 0 {
		return 0, errors.New("the cluster has no nodes")
	}
	return begun, nil
}

// follow sends one node's flows until ctx ends or the node refuses; it asks again where the connection broke.
func (f *flowFollower) follow(ctx context.Context, node string) error {
	told := ""
	for {
		err := f.read(ctx, node)
		if ctx.Err() != nil {
			return nil
		}
		if permanent(err) || !f.o.follow {
			return fmt.Errorf("flows of node %s: %w", node, err)
		}
		if text := err.Error(); text != told {
			told = text
			f.notify(ctx, fmt.Sprintf("petrel: flows of node %s: %s; it is asked again", node, text))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flowRetry):
		}
	}
}

func (f *flowFollower) notify(ctx context.Context, text string) {
	select {
	case f.notices <- text:
	case <-ctx.Done():
	}
}

// permanent tells of answers that asking again does not change.
func permanent(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code == http.StatusNotImplemented || code >= 400 && code < 500 && code != http.StatusTooManyRequests
}

// read sends what the node tells over one connection.
func (f *flowFollower) read(ctx context.Context, node string) error {
	request := f.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix(flows.Path)
	for key, values := range f.o.filter.Query() {
		for _, v := range values {
			request = request.Param(key, v)
		}
	}
	if f.o.showHTTP {
		c := call{method: http.MethodGet}
		f.notify(ctx, c.curl(request.URL().String()))
	}
	stream, err := request.Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	dec := json.NewDecoder(stream)
	for {
		e := nodeFlow{Node: node}
		if err := dec.Decode(&e.Flow); err == io.EOF {
			return errors.New("the node ended the connection")
		} else if err != nil {
			return fmt.Errorf("read flows: %w", err)
		}
		select {
		case f.events <- e:
		case <-ctx.Done():
			return nil
		}
	}
}
