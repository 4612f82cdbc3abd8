// Package plugin is what a container runtime executes to attach its containers to the pod network, by the Container
// Network Interface, versions 1.0 and 1.1. It does nothing by itself: it hands the call to the worker by a unix socket and
// prints what the worker answers.
//
// A runtime executes it twice for each sandbox and waits for it, and the program whose other name it is takes longer to
// initialise all its packages than to attach a container. So it runs from an init function (cmd/petrel/cniplugin), before
// the rest of the program is initialised.
//
// Invariants: whatever it prints is what the specification wants, errors too; a worker that is away is told as "try again
// later", so that the runtime does.
//
// It may import nothing of Petrel, and of the standard library only what is initialised early: not net, net/http, regexp,
// path/filepath, log, nor what imports them. The order of initialisation is that of import paths among the packages whose
// own imports are done. A test in cmd/petrel holds it to that.
package plugin
