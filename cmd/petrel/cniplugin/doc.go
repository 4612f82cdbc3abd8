// Package cniplugin makes the program a CNI plugin, and nothing else, where it is executed by a plugin's name. Whoever
// imports it is one.
//
// It does so while the program's packages are being initialised: its own imports are few, so that its turn comes before
// those of Kubernetes and etcd, whose initialisation takes ten times as long as what a plugin does.
//
// It may import worker/network/cni/plugin alone.
package cniplugin
