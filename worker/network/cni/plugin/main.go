package plugin

import (
	"os"
	"strings"
)

const (
	// Name is what the program is called when it is to be the plugin.
	Name = "petrel-cni"
	// LoopbackName is the plugin that runtimes execute for a container's loopback, beside the one that their configuration
	// names. It is part of a package of plugins that a machine of ours need not have.
	LoopbackName = "loopback"
)

// Main is the whole program where a container runtime executes it by a plugin's name; false elsewhere.
func Main(args []string) (code int, is bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0][strings.LastIndexByte(args[0], '/')+1:] {
	case Name:
		return Run(os.Getenv, os.Stdin, os.Stdout), true
	case LoopbackName:
		return Loopback(os.Getenv, os.Stdin, os.Stdout), true
	default:
		return 0, false
	}
}
