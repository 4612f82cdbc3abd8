package wasi

import (
	"encoding/binary"
	"maps"
)

// le is the byte order of everything that guests see.
var le = binary.LittleEndian

// answer makes a Function of one that returns its errno.
func answer(f func(call) Errno) Function {
	return func(h Host, s *System, mem []byte, stack []uint64) {
		stack[0] = uint64(f(call{h: h, s: s, mem: mem, stack: stack}))
	}
}

// functions are those of wasi_snapshot_preview1.
var functions = map[string]Function{
	"args_get":                answer(argsGet),
	"args_sizes_get":          answer(argsSizesGet),
	"environ_get":             answer(environGet),
	"environ_sizes_get":       answer(environSizesGet),
	"clock_res_get":           answer(clockResGet),
	"clock_time_get":          answer(clockTimeGet),
	"fd_advise":               answer(fdAdvise),
	"fd_allocate":             answer(fdAllocate),
	"fd_close":                answer(fdClose),
	"fd_datasync":             answer(fdDatasync),
	"fd_fdstat_get":           answer(fdFdstatGet),
	"fd_fdstat_set_flags":     answer(fdFdstatSetFlags),
	"fd_fdstat_set_rights":    answer(fdFdstatSetRights),
	"fd_filestat_get":         answer(fdFilestatGet),
	"fd_filestat_set_size":    answer(fdFilestatSetSize),
	"fd_filestat_set_times":   answer(fdFilestatSetTimes),
	"fd_pread":                answer(fdPread),
	"fd_prestat_dir_name":     answer(fdPrestatDirName),
	"fd_prestat_get":          answer(fdPrestatGet),
	"fd_pwrite":               answer(fdPwrite),
	"fd_read":                 answer(fdRead),
	"fd_readdir":              answer(fdReaddir),
	"fd_renumber":             answer(fdRenumber),
	"fd_seek":                 answer(fdSeek),
	"fd_sync":                 answer(fdSync),
	"fd_tell":                 answer(fdTell),
	"fd_write":                answer(fdWrite),
	"path_create_directory":   answer(pathCreateDirectory),
	"path_filestat_get":       answer(pathFilestatGet),
	"path_filestat_set_times": answer(pathFilestatSetTimes),
	"path_link":               answer(pathLink),
	"path_open":               answer(pathOpen),
	"path_readlink":           answer(pathReadlink),
	"path_remove_directory":   answer(pathRemoveDirectory),
	"path_rename":             answer(pathRename),
	"path_symlink":            answer(pathSymlink),
	"path_unlink_file":        answer(pathUnlinkFile),
	"poll_oneoff":             answer(pollOneoff),
	"proc_exit":               procExit,
	"proc_raise":              answer(procRaise),
	"random_get":              answer(randomGet),
	"sched_yield":             answer(schedYield),
	"sock_accept":             answer(sockAccept),
	"sock_recv":               answer(sockRecv),
	"sock_send":               answer(sockSend),
	"sock_shutdown":           answer(sockShutdown),
}

// netFunctions are those of petrel_net_v1.
var netFunctions = map[string]Function{
	"dial":        answer(netDial),
	"dial_status": answer(netDialStatus),
	"resolve":     answer(netResolve),
	"address":     answer(netAddress),
}

// Functions lists every function of wasi_snapshot_preview1.
func Functions() map[string]Function { return maps.Clone(functions) }

// NetFunctions lists the functions of petrel_net_v1, through which guests reach the network by grant.
func NetFunctions() map[string]Function { return maps.Clone(netFunctions) }
