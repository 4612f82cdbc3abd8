package client

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

// versionPatience bounds the question to the server, which is only half of the answer.
const versionPatience = 2 * time.Second

// versions is the answer of petrel version.
type versions struct {
	Client string `json:"client"`
	Go     string `json:"go"`
	// Server is the Kubernetes version that the server speaks; empty where none answers.
	Server string `json:"server,omitempty"`
}

func newVersionCommand(streams Streams, version string) *cobra.Command {
	o := &options{Streams: streams}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print petrel's version, and the server's if one answers",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.version(cmd.Context(), version) },
	}
	o.add(cmd)
	return cmd
}

func (o *options) version(ctx context.Context, version string) error {
	v := versions{Client: version, Go: runtime.Version()}
	ctx, cancel := context.WithTimeout(ctx, versionPatience)
	defer cancel()
	var server struct {
		GitVersion string `json:"gitVersion"`
	}
	_, err := o.fetch(ctx, call{method: http.MethodGet, path: "/version"}, &server)
	if err == nil {
		v.Server = server.GitVersion
	}
	if o.json() {
		return printJSON(o.Out, v)
	}
	if _, err := fmt.Fprintf(o.Out, "petrel %s (%s)\n", v.Client, v.Go); err != nil {
		return err
	}
	if v.Server == "" {
		_, err = fmt.Fprintf(o.Out, "server: none answers at %s\n", o.server)
	} else {
		_, err = fmt.Fprintf(o.Out, "server: Kubernetes API %s at %s\n", v.Server, o.server)
	}
	return err
}
