// Package network reaches the network from a guest written in Go, and accepts connections in one.
//
//	conn, err := network.Dial("tcp", "db.example.com:5432")
//	client := http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
//	addresses, err := network.LookupHost(ctx, "db.example.com")
//
// Package net has no network of its own in a guest. What may be reached is granted to the pod (annotation
// petrel.run/egress); what is not granted fails with an error that is fs.ErrPermission to errors.Is. Names are resolved
// by the host. A goroutine that waits for a connection or an answer does not keep others from running.
//
// A command with a port serves with the sockets that it was started with:
//
//	listeners, err := network.Listeners()
//	err = http.Serve(listeners[0], handler)
//
// On other platforms than wasip1 package net does all this, and Listeners finds the sockets that systemd passes, so that a
// program and its tests build natively.
//
// A program that imports this package needs the module petrel_net_v1 of its host. It imports the standard library alone.
package network
