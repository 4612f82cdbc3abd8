// Package wasi is what a guest sees of the world: the host functions of WASI preview 1, and of petrel_net_v1.
//
// A System belongs to one instance. It has the guest's descriptors: the standard streams are 0 to 2, then come the mounted
// directories by their paths, the sockets to accept from, and a scratch directory in memory at /tmp. Functions are the
// host functions, which the engine links; it lends each call a Host.
//
// # Reset
//
// Mark notes the descriptors, New has done it once. Reset closes whatever was opened since and puts back what was closed,
// moved or changed; the scratch directory is as it was. What cannot be put back (a connection of the mark's) makes it answer
// false, and the instance is to be discarded. Clone makes a System that is as another was at its mark, without opening
// the mounts again.
//
// # Files
//
// A Mount names a directory or a single file of the host and where the guest sees it. A mounted directory is an os.Root, so
// no path and no symbolic link, whoever made it, leads out; what a Mount names itself is resolved once. Guests may open
// regular files and directories. A FIFO, a socket or a device is refused, because opening or reading one can block for ever
// or reach a driver. Nothing leads from one mount to another, so that a read-only one stays that. The scratch directory has
// files and directories up to MaxScratchBytes and MaxScratchFiles, and no links.
//
// Rights are those of a descriptor's kind. Of what path_open asks for, only the rights to read and to write matter, and what
// the directory can pass on; fd_fdstat_set_rights takes away. A missing right is ENOTCAPABLE, a path that would lead out
// EPERM, more than MaxFiles open descriptors EMFILE, the host's own lack of them ENFILE.
//
// # Waiting
//
// Whatever waits does so through Host.Block and ends with the call's context, with EINTR; the engine ends the guest then.
// poll_oneoff waits for clocks, standard input and sockets at once without a goroutine or a thread for each: an epoll
// descriptor, in Go's own poller, has the sockets. A standard stream whose type implements Prompt is used directly; for
// others a goroutine reads or writes beside the guest, which is left behind when it blocks for ever.
//
// # Sockets
//
// A Config's listeners are duplicated; LISTEN_FDS tells the guest how many there are, PETREL_LISTEN_FD the first one's
// number: it is 3 as long as nothing is mounted. sock_accept gives connections for sock_recv, sock_send, sock_shutdown,
// fd_read, fd_write and poll_oneoff.
//
// petrel_net_v1 reaches out, as far as the egress.Policy goes. All its functions return an errno:
//
//	dial(network, address, address_len, fd_out)   network 1 is tcp, 2 udp; the address is host:port
//	dial_status(fd)                               0 when connected, EINPROGRESS, or why it failed
//	resolve(name, name_len, fd_out)               reading fd gives the addresses, one a line
//	address(fd, which, buf, buf_len, size_out)    which 0 is one's own, 1 the peer's: "ip:port"
//
// dial and resolve return at once. Until the answer is there, poll_oneoff says that the descriptor is not ready, reading
// and writing it wait, or say EAGAIN when it is non-blocking. What is not granted fails with EACCES, an unknown name with
// ENOENT.
//
// # Safety
//
// Every address and length of a guest is checked (EFAULT) before anything is done. Work in proportion to a size is paid with
// Host.Spend and done in pieces, between which the context's end is looked for.
//
// It may import wasmrt/egress and golang.org/x/sys.
package wasi
