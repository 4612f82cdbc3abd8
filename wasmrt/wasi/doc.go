// Package wasi shows host files to a guest.
//
// A Mount names a directory or a single file of the host and where the guest sees it. Open turns mounts into a Tree: one
// jailed file system for each directory that the guest is handed (a preopen). A jail is an os.Root, so no path and no
// symbolic link, whoever made it, leads out of the directory; what a Mount names itself is resolved once, when it is opened.
//
// A Tree belongs to one instance: it counts the files that the guest has open, bounds them, and closes them all with
// Close, whatever the guest forgot.
//
// Guests may open regular files and directories. A FIFO, a socket or a device is refused, because opening or reading one
// can block for ever or reach a driver.
//
// It may import wazero's experimental/sys and sys (the types of the file system that the engine asks for), and
// golang.org/x/sys.
package wasi
