package containerd

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

// Plugins that a daemon of ours does without: snapshotters of file systems that it does not have, and telemetry that
// would look for a collector.
var disabledPlugins = map[int][]string{
	1: {
		"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
		"io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
	},
	2: {
		"io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing",
		"io.containerd.tracing.processor.v1.otlp",
	},
}

const commonText = `# Written by the Petrel worker for {{.Program.Path}} {{.Program.Version}} at each start.
version = {{if eq .Program.Major 1}}2{{else}}3{{end}}
root = {{quote .RootDir}}
state = {{quote .StateDir}}
oom_score = 0
imports = []
disabled_plugins = {{quotes .Disabled}}
[grpc]
  address = {{quote .Socket}}
[ttrpc]
  address = {{quote .TTRPC}}
[plugins."io.containerd.internal.v1.opt"]
  path = {{quote .Opt}}
`

// text1 is what versions 1.6 and 1.7 want, text2 what 2.x does.
const (
	text1 = commonText + `[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {{quote .Image}}
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = {{.RestrictOOM}}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = {{quote (index .Handlers 0).Name}}
{{- template "handlers" (under "io.containerd.grpc.v1.cri" .Handlers .Runc)}}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {{quote (index .CNIBinDirs 0)}}
    conf_dir = {{quote .CNIConfDir}}
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {{quote .RegistryConfigDir}}
`
	text2 = commonText + `[plugins."io.containerd.shim.v1.manager"]
  socket_dir = {{quote .Shims}}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = {{quote .Image}}
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = {{quote .RegistryConfigDir}}
[plugins."io.containerd.cri.v1.runtime"]
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = {{.RestrictOOM}}
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = {{quote (index .Handlers 0).Name}}
{{- template "handlers" (under "io.containerd.cri.v1.runtime" .Handlers .Runc)}}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = {{quotes .CNIBinDirs}}
    conf_dir = {{quote .CNIConfDir}}
`
	handlersText = `{{define "handlers"}}{{$plugin := .Plugin}}{{$root := .Root}}{{range .Handlers}}
    [plugins."{{$plugin}}".containerd.runtimes."{{.Name}}"]
      runtime_type = {{quote .Type}}
{{- if .Path}}
      runtime_path = {{quote .Path}}
{{- end}}
{{- if .PodAnnotations}}
      pod_annotations = {{quotes .PodAnnotations}}
{{- end}}
{{- if .ContainerAnnotations}}
      container_annotations = {{quotes .ContainerAnnotations}}
{{- end}}
{{- if .Binary}}
      [plugins."{{$plugin}}".containerd.runtimes."{{.Name}}".options]
        BinaryName = {{quote .Binary}}
        Root = {{quote $root}}
        SystemdCgroup = false
{{- end}}
{{- end}}{{end}}`
)

// handlersOf is what the template of handlers needs.
type handlersOf struct {
	Plugin   string
	Handlers []Handler
	Root     string // where runc keeps what it knows
}

var funcs = template.FuncMap{
	"quote":  strconv.Quote, // a path of printable characters reads the same in TOML's basic strings
	"quotes": quotes,
	"under":  func(plugin string, h []Handler, root string) handlersOf { return handlersOf{plugin, h, root} },
}

var texts = map[int]*template.Template{1: parse(text1), 2: parse(text2)}

func parse(text string) *template.Template {
	return template.Must(template.Must(template.New("config").Funcs(funcs).Parse(handlersText)).Parse(text))
}

func quotes(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// text is the daemon's configuration with the given image for sandboxes.
func (c *Config) text(image string) ([]byte, error) {
	var out bytes.Buffer
	err := texts[c.Program.Major].Execute(&out, struct {
		*Config
		Image, RootDir, StateDir, Socket, TTRPC, Opt, Shims, Runc string
		Disabled                                                  []string
	}{
		Config: c, Image: image, RootDir: filepath.Join(c.Root, "root"), StateDir: filepath.Join(c.State, "state"),
		Socket: c.socket(), TTRPC: c.socket() + ".ttrpc", Opt: filepath.Join(c.Root, "opt"), Shims: filepath.Join(c.State, "s"), Runc: filepath.Join(c.State, "runc"),
		Disabled: disabledPlugins[c.Program.Major],
	})
	return out.Bytes(), err
}
