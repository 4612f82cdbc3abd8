package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/service"
)

const (
	// noPins as --proxy-pin-dir lets eBPF programs end with the worker.
	noPins = "none"
	// clusterHealthz is where load balancers and autoscalers ask for the service proxy's health, as they ask kube-proxy.
	clusterHealthz = "0.0.0.0:10256"
)

// serviceFlags say which data path serves Services on the node.
type serviceFlags struct {
	Mode    string
	Cgroup  string
	PinDir  string
	Healthz string
}

func (o *serviceFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Mode, "proxy", string(service.Auto), "what serves Services: ebpf, programs in the kernel; userspace, a proxy that needs no privilege; auto, the first where it can be had, else the second")
	f.StringVar(&o.Cgroup, "proxy-cgroup", "", "control group whose programs reach Services through eBPF (default: the root of the cgroup2 file system, for every program of the machine)")
}

// addNodeFlags are those of a worker that outlives its pods' clients.
func (o *serviceFlags) addNodeFlags(f *pflag.FlagSet) {
	f.StringVar(&o.PinDir, "proxy-pin-dir", "", "folder on a bpffs in which eBPF programs serve on while the worker is away; "+noPins+" to let them end with it (default: one of the node's own below /sys/fs/bpf where that is a bpffs)")
	f.StringVar(&o.Healthz, "proxy-healthz-bind-address", "", "where the service proxy's health is told (default "+clusterHealthz+" with --node-ip, else nowhere)")
}

func (o *serviceFlags) check() error {
	if _, err := service.ParseMode(o.Mode); err != nil {
		return fmt.Errorf("--proxy: %w", err)
	}
	return nil
}

// settle fills in what a worker's flags left open.
func (o *serviceFlags) settle(rootDir string, cluster bool) {
	if o.PinDir == "" {
		o.PinDir = worker.DefaultPinDir(rootDir)
	}
	if o.Healthz == "" && cluster {
		o.Healthz = clusterHealthz
	}
}

// config has no pins unless settle chose some: what `petrel up` starts ends with it.
func (o *serviceFlags) config() worker.ProxyConfig {
	c := worker.ProxyConfig{Mode: service.Mode(o.Mode), Cgroup: o.Cgroup, PinDir: o.PinDir, Healthz: o.Healthz}
	if c.PinDir == noPins {
		c.PinDir = ""
	}
	return c
}
