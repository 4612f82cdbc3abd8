// Package machine makes machines out of namespaces: each has a network, a process table, mounts and a host name of its
// own, a control group in every hierarchy that Petrel uses, and a link to a switch that only such machines share. What
// runs in one sees a host of its own; nothing that it sends leaves the switch.
//
// A machine is held by one process, its init: a mode of the calling program (Init must be the first thing main does)
// that makes the mounts, reaps orphans, gives sockets away and waits for the end of its standard input. When whoever started it goes, by
// whatever death, the init ends, and the kernel ends every process of the machine with it and removes its network. Only
// control groups stay, and Sweep removes them.
//
// Invariants: the namespaces have no names and no mounts of the caller's are changed, so there is nothing to forget; a
// thread that has entered a machine never runs anything else again; only processes found in a machine's own groups are
// ever signalled.
//
// It knows nothing of Petrel. It may import netlink, and of the project cgrouplock, by which groups are known to be somebody's.
package machine
