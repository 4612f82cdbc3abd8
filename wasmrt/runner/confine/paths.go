package confine

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Rights, as landlock counts them. Executing a file and making device nodes are in none: no runner does either.
const (
	readFiles = landlock.AccessFSSet(ll.AccessFSReadFile)
	readDirs  = readFiles | ll.AccessFSReadDir
	useFiles  = readFiles | ll.AccessFSWriteFile
	readWrite = readDirs | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSym |
		ll.AccessFSMakeFifo | ll.AccessFSMakeSock
	handled = readWrite | ll.AccessFSExecute | ll.AccessFSMakeChar | ll.AccessFSMakeBlock | ll.AccessFSIoctlDev
)

// hostLimits say how much there can be of what instances are made of; resolverFiles are what name resolution reads; trust
// are where certificates of authorities lie.
var (
	hostLimits    = []string{"/proc/sys/vm/max_map_count"}
	resolverFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime"}
	trust         = []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/usr/lib/ssl", "/run/systemd/resolve"}
)

// restrictPaths limits what the process can open. Rules cannot be widened afterwards, and mounts come later: so they name
// the directories below which mounts are to lie.
func restrictPaths(c Config) string {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return off("this kernel has no landlock, or it was not enabled at boot")
	}
	const withRefer = 2 // before it, renaming between directories cannot be allowed
	if version < withRefer {
		return off(fmt.Sprintf("this kernel's landlock (ABI %d) cannot allow renames between directories", version))
	}
	config, err := landlock.NewConfig(handled)
	if err == nil {
		err = config.BestEffort().RestrictPaths(pathRules(c)...)
	}
	if err != nil {
		return off(err)
	}
	if len(c.ReadWrite) == 0 {
		return on(fmt.Sprintf("ABI %d; nothing can be executed; paths are not limited, because no directories for logs and mounts were named", version))
	}
	return on(fmt.Sprintf("ABI %d; nothing can be executed; only modules, cache, logs and mounts can be opened", version))
}

func pathRules(c Config) []landlock.Rule {
	if len(c.ReadWrite) == 0 {
		return []landlock.Rule{landlock.PathAccess(readWrite, "/")}
	}
	return []landlock.Rule{
		landlock.PathAccess(readDirs, c.ReadOnly...),
		landlock.PathAccess(readWrite, c.ReadWrite...),
		// The process's own accounts and memory map: resetting instances reads the latter.
		landlock.PathAccess(readDirs, fmt.Sprintf("/proc/%d", os.Getpid())),
		landlock.PathAccess(useFiles, "/dev/null"),
		landlock.PathAccess(readFiles, "/dev/urandom").IgnoreIfMissing(),
		landlock.PathAccess(readFiles, hostLimits...).IgnoreIfMissing(),
		landlock.PathAccess(readFiles, resolverFiles...).IgnoreIfMissing(),
		landlock.PathAccess(readDirs, trust...).IgnoreIfMissing(),
	}
}
