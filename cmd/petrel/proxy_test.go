package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/worker/service"
)

// proxyWith reads flags as `petrel proxy` does.
func proxyWith(t *testing.T, args ...string) (*proxyOptions, error) {
	t.Helper()
	o := &proxyOptions{}
	flags := pflag.NewFlagSet("proxy", pflag.ContinueOnError)
	o.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, o.settle()
}

func TestProxyFlags(t *testing.T) {
	o, err := proxyWith(t, "--hostname-override", " Node-1 ", "--cluster-cidr", "10.42.0.0/16,fd42::/48", "--nodeport-addresses", "127.0.0.0/8", "--no-pins")
	if err != nil {
		t.Fatal(err)
	}
	if o.Hostname != "node-1" || len(o.inside) != 2 || len(o.nodes) != 1 || o.mode != service.Auto || o.PinDir != "" {
		t.Errorf("settled on %+v", o)
	}
	if o.Metrics != "127.0.0.1:10249" || o.Healthz != "0.0.0.0:10256" || o.QPS != 5 || o.Burst != 10 {
		t.Errorf("defaults are %+v", o)
	}
	for want, args := range map[string][]string{
		"--proxy-mode":         {"--proxy-mode", "iptables"},
		"--cluster-cidr":       {"--cluster-cidr", "10.42.0.0"},
		"--nodeport-addresses": {"--nodeport-addresses", "primary"},
		"exclude each other":   {"--no-pins", "--pin-dir", "/sys/fs/bpf/x"},
	} {
		if _, err := proxyWith(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a complaint with %q", args, err, want)
		}
	}
}

// TestProxyFlagsLikeKubeProxys keeps the flags that a kube-proxy's command line may have.
func TestProxyFlagsLikeKubeProxys(t *testing.T) {
	flags := newProxyCommand(streams{}).Flags()
	for _, name := range []string{
		"kubeconfig", "master", "hostname-override", "cluster-cidr", "nodeport-addresses", "metrics-bind-address", "healthz-bind-address",
		"proxy-mode", "cleanup", "kube-api-qps", "kube-api-burst",
	} {
		if flags.Lookup(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
}

func TestProxyFindsTheAPI(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":"https://192.0.2.1:6443"}}],"users":[{"name":"u","user":{"token":"secret"}}]}`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]proxyOptions{
		"https://192.0.2.1:6443": {Kubeconfig: path},
		"https://192.0.2.2:6443": {Kubeconfig: path, Master: "https://192.0.2.2:6443"},
	} {
		cfg, err := o.apiConfig()
		if err != nil || cfg.Host != want || cfg.BearerToken != "secret" {
			t.Errorf("%+v: %+v, %v", o, cfg, err)
		}
	}
	for _, o := range []proxyOptions{{}, {Kubeconfig: filepath.Join(t.TempDir(), "none")}} {
		if _, err := o.client(); err == nil || !strings.Contains(err.Error(), "find the API") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestServiceFlags(t *testing.T) {
	var o serviceFlags
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	o.addFlags(flags)
	o.addNodeFlags(flags)
	if err := flags.Parse([]string{"--proxy-pin-dir", noPins}); err != nil {
		t.Fatal(err)
	}
	o.settle(t.TempDir(), true)
	if c := o.config(); c.Mode != service.Auto || c.PinDir != "" || c.Healthz != clusterHealthz {
		t.Errorf("configured as %+v", c)
	}
	o.Mode = "ipvs"
	if err := o.check(); err == nil {
		t.Error("mode ipvs was accepted")
	}
}

func TestProxyCommandSaysWhatIsWrong(t *testing.T) {
	var out bytes.Buffer
	cmd := newProxyCommand(streams{Out: &out, Err: &out})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	for _, args := range [][]string{{"--log-level", "loud"}, {"--proxy-mode", "ipvs"}, {"--no-pins"}} { // the last: no API
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%q was accepted", slices.Clone(args))
		}
	}
}
