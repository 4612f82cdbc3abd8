package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/test/toolchain"
)

// deployRounds is how many new apps are deployed; each is compiled anew, which takes a second.
const deployRounds = 5

func wasmrtRows() []row {
	return []row{{
		name: "wasmrt/deploy-to-first-response", direction: table.AtMost, bar: 1.3, measure: deployToFirstResponse,
		what: "Seconds from the first byte of the upload of a module nobody has seen to the end of the first response at the app's URL,\n" +
			"divided by the seconds that the bare engine takes to compile the same module. The module is a Go program, whose compilation\n" +
			"outweighs all else: upload, check, two copies to disk, a dozen writes to etcd and a pod's start should add under a third.",
	}}
}

func deployToFirstResponse(ctx context.Context, l *lab) (m measurement, err error) {
	guest, err := l.guest(ctx, probeGuest)
	if err != nil {
		return m, err
	}
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		round := 0
		var timings []string
		deploy := func() (float64, error) {
			round++
			fresh := toolchain.WithCustomSection(guest, "bench", fmt.Append(nil, time.Now().UnixNano()))
			seconds, told, err := deployAndAsk(ctx, c, fmt.Sprintf("app-%d", round), fresh)
			timings = append(timings, told)
			return seconds, err
		}
		p, err := stats.Pair(deployRounds, deploy, func() (float64, error) { return bareCompile(ctx, guest) })
		m, err = paired(p, err, "deploy to first response", "bare compilation", "s")
		for _, t := range timings {
			m.note("petrel's own account: %s", t)
		}
		return err
	})
	return m, err
}

// deployAndAsk deploys a module and asks its URL, and answers the seconds and the API's account of its steps.
func deployAndAsk(ctx context.Context, c *cluster.Cluster, app string, module []byte) (float64, string, error) {
	began := time.Now()
	body, err := request(ctx, http.MethodPut, c.State.API+"/v1/apps/"+app, "", module, http.StatusCreated)
	if err != nil {
		return 0, "", err
	}
	var told struct {
		URL       string          `json:"url"`
		Timings   json.RawMessage `json:"timings_ms"`
		ColdStart float64         `json:"cold_start_us"`
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return 0, "", fmt.Errorf("deploy %s: %w", app, err)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(told.URL, "http://"), "/")
	if _, err := request(ctx, http.MethodGet, "http://"+c.State.Gateway+"/", host, nil, http.StatusOK); err != nil {
		return 0, "", err
	}
	seconds := time.Since(began).Seconds()
	var timings bytes.Buffer
	if err := json.Compact(&timings, told.Timings); err != nil {
		return 0, "", fmt.Errorf("deploy %s: %w", app, err)
	}
	return seconds, fmt.Sprintf("%s ms, cold start %.0f µs", &timings, told.ColdStart), nil
}

// request sends one request on a connection of its own and wants the status.
func request(ctx context.Context, method, url, host string, body []byte, status int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host, req.Close = host, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if res.StatusCode != status {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, res.Status, answer)
	}
	return answer, nil
}

// bareCompile answers the seconds that the bare engine takes to compile a module, without any cache.
func bareCompile(ctx context.Context, module []byte) (float64, error) {
	began := time.Now()
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer runtime.Close(ctx)
	compiled, err := runtime.CompileModule(ctx, module)
	if err != nil {
		return 0, fmt.Errorf("compile: %w", err)
	}
	seconds := time.Since(began).Seconds()
	return seconds, compiled.Close(ctx)
}

// runGuest runs so many pods of the Go guest, with a Service that has an app URL, and waits until it answers.
func (l *lab) runGuest(ctx context.Context, c *cluster.Cluster, name, guest string, replicas int32) error {
	module, err := l.guest(ctx, guest)
	if err != nil {
		return err
	}
	image, err := c.Push(ctx, "bench/"+name, module)
	if err != nil {
		return err
	}
	if err := create(ctx, c, deployment(name, image, replicas), service(name, map[string]string{"app": name})); err != nil {
		return err
	}
	if err := available(ctx, c, name, replicas); err != nil || replicas == 0 {
		return err
	}
	return answers(ctx, c, name)
}

// answers waits until an app's URL does.
func answers(ctx context.Context, c *cluster.Cluster, app string) error {
	return cluster.Until(ctx, settleLimit, "the app URL of "+app, func() error {
		_, err := request(ctx, http.MethodGet, "http://"+c.State.Gateway+"/", appHost(c, app), nil, http.StatusOK)
		return err
	})
}

// appHost is the host of an app's URL.
func appHost(c *cluster.Cluster, app string) string {
	_, port, err := net.SplitHostPort(c.State.Gateway)
	if err != nil {
		return app + ".localhost"
	}
	return net.JoinHostPort(app+".localhost", port)
}
