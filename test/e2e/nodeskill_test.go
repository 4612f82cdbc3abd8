package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	// workerKills is how often each node's worker is killed, and killClients how many clients each node has meanwhile.
	workerKills = 4
	killClients = 2
)

// killedUnderLoad kills the workers of all nodes, and the supervisors of their runners, at random moments, while clients on
// each node open one connection after the other to the Service and one stays open all along: the tables are in the kernel, and
// none of it fails.
func killedUnderLoad(w *world, n *cluster.Nodes) {
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	var clients sync.WaitGroup
	var mu sync.Mutex
	asked, failures := 0, []string{}
	for i, node := range n.Lab.Nodes() {
		for range killClients {
			clients.Go(func() {
				client := n.HTTP(i)
				for ctx.Err() == nil {
					_, err := ask(context.WithoutCancel(ctx), client, "http://"+ip+"/")
					mu.Lock()
					asked++
					if err != nil && len(failures) < 10 {
						failures = append(failures, fmt.Sprintf("%s: %v", node.Name, err))
					}
					mu.Unlock()
				}
			})
		}
	}
	open := keepOpen(w, n, ip)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 4))
	supervisors := 0
	for range workerKills {
		for _, node := range n.Lab.Nodes() {
			// Any moment of a worker's life, of its start too.
			time.Sleep(time.Duration(rng.IntN(700)) * time.Millisecond)
			if err := errors.Join(node.Kill(w.Context(), lab.Worker), node.Restart(lab.Worker)); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			supervisors += killWasmrt(w, node)
		}
		if err := open(); err != nil {
			w.Fatalf("the connection that is open all along: %v", err)
		}
	}
	w.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=150s")
	stop()
	clients.Wait()
	for _, failure := range failures {
		w.Error(failure)
	}
	if asked < 100 {
		w.Errorf("only %d requests were made", asked)
	}
	if err := open(); err != nil {
		w.Errorf("the connection that was open all along: %v", err)
	}
	if supervisors == 0 {
		w.Error("no supervisor was killed")
	}
	w.Logf("%d requests on connections of their own, %d workers and %d supervisors killed", asked, workerKills*len(n.Lab.Nodes()), supervisors)
}

// keepOpen opens a connection to the Service from the first node; what it answers asks over that connection.
func keepOpen(w *world, n *cluster.Nodes, ip string) (again func() error) {
	conns := 0
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conns++
			return n.Lab.Nodes()[0].Dial(ctx, netip.AddrPortFrom(netip.MustParseAddr(ip), 80))
		},
	}}
	again = func() error {
		res, err := client.Get("http://" + ip + "/")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		switch {
		case err != nil:
			return err
		case conns != 1:
			return fmt.Errorf("it was lost: the request went by connection %d", conns)
		case !strings.Contains(string(body), "probe"):
			return fmt.Errorf("%s answered %q", res.Status, body)
		}
		return nil
	}
	if err := again(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(client.CloseIdleConnections)
	return again
}
