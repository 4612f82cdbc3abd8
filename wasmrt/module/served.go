package module

import (
	"slices"
	"strings"
)

// The modules that a guest may import from.
const (
	WASIModule = "wasi_snapshot_preview1"
	// HTTPModule carries the version of the ABI in its name, so that another version can be served beside it.
	HTTPModule = "petrel_http_v1"
	// HTTPClientModule has the outgoing requests.
	HTTPClientModule = "petrel_http_client_v1"
	// NetModule has outgoing connections and the name service.
	NetModule = "petrel_net_v1"
)

// served is every function a guest may import, by module. A signature has one letter a value (i: i32, I: i64),
// parameters before the colon and results after it.
var served = map[string]map[string]string{
	WASIModule: {
		"args_get":                "ii:i",
		"args_sizes_get":          "ii:i",
		"environ_get":             "ii:i",
		"environ_sizes_get":       "ii:i",
		"clock_res_get":           "ii:i",
		"clock_time_get":          "iIi:i",
		"fd_advise":               "iIIi:i",
		"fd_allocate":             "iII:i",
		"fd_close":                "i:i",
		"fd_datasync":             "i:i",
		"fd_fdstat_get":           "ii:i",
		"fd_fdstat_set_flags":     "ii:i",
		"fd_fdstat_set_rights":    "iII:i",
		"fd_filestat_get":         "ii:i",
		"fd_filestat_set_size":    "iI:i",
		"fd_filestat_set_times":   "iIIi:i",
		"fd_pread":                "iiiIi:i",
		"fd_prestat_dir_name":     "iii:i",
		"fd_prestat_get":          "ii:i",
		"fd_pwrite":               "iiiIi:i",
		"fd_read":                 "iiii:i",
		"fd_readdir":              "iiiIi:i",
		"fd_renumber":             "ii:i",
		"fd_seek":                 "iIii:i",
		"fd_sync":                 "i:i",
		"fd_tell":                 "ii:i",
		"fd_write":                "iiii:i",
		"path_create_directory":   "iii:i",
		"path_filestat_get":       "iiiii:i",
		"path_filestat_set_times": "iiiiIIi:i",
		"path_link":               "iiiiiii:i",
		"path_open":               "iiiiiIIii:i",
		"path_readlink":           "iiiiii:i",
		"path_remove_directory":   "iii:i",
		"path_rename":             "iiiiii:i",
		"path_symlink":            "iiiii:i",
		"path_unlink_file":        "iii:i",
		"poll_oneoff":             "iiii:i",
		"proc_exit":               "i:",
		"proc_raise":              "i:i",
		"random_get":              "ii:i",
		"sched_yield":             ":i",
		"sock_accept":             "iii:i",
		"sock_recv":               "iiiiii:i",
		"sock_send":               "iiiii:i",
		"sock_shutdown":           "ii:i",
	},
	HTTPModule: {
		"request_head":      "ii:i",
		"request_body_read": "ii:i",
		"request_trailers":  "ii:i",
		"request_cancelled": ":i",
		"response_head":     "iii:i",
		"response_send":     "iiiii:i",
		"response_write":    "ii:i",
		"response_flush":    ":i",
		"response_trailers": "ii:i",
		"response_abort":    "i:",
	},
	HTTPClientModule: {
		"request_open":      "ii:i",
		"request_write":     "iii:i",
		"request_end":       "iii:i",
		"response_head":     "iii:i",
		"response_read":     "iii:i",
		"response_trailers": "iii:i",
		"error_text":        "iii:i",
		"close":             "i:i",
		"wait":              "i:i",
	},
	NetModule: {
		"dial":        "iiii:i",
		"dial_status": "i:i",
		"resolve":     "iii:i",
		"address":     "iiiii:i",
	},
	HTTPWasmModule: {
		"enable_features":      "i:i",
		"get_config":           "ii:i",
		"log":                  "iii:",
		"log_enabled":          "i:i",
		"get_method":           "ii:i",
		"set_method":           "ii:",
		"get_uri":              "ii:i",
		"set_uri":              "ii:",
		"get_protocol_version": "ii:i",
		"get_source_addr":      "ii:i",
		"get_header_names":     "iii:I",
		"get_header_values":    "iiiii:I",
		"set_header_value":     "iiiii:",
		"add_header_value":     "iiiii:",
		"remove_header":        "iii:",
		"read_body":            "iii:I",
		"write_body":           "iii:",
		"get_status_code":      ":i",
		"set_status_code":      "i:",
	},
}

// ServedModules lists the modules a guest may import from.
func ServedModules() []string {
	var names []string
	for name := range served {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ServedFunctions lists the functions of a served module; nil when it is not served.
func ServedFunctions(module string) []string {
	var names []string
	for name := range served[module] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ServedType returns the type of a served function.
func ServedType(module, name string) (FuncType, bool) {
	sig, ok := served[module][name]
	if !ok {
		return FuncType{}, false
	}
	params, results, _ := strings.Cut(sig, ":")
	return FuncType{Params: letters(params), Results: letters(results)}, true
}

func letters(s string) []ValueType {
	var ts []ValueType
	for _, l := range s {
		switch l {
		case 'i':
			ts = append(ts, I32)
		case 'I':
			ts = append(ts, I64)
		}
	}
	return ts
}
