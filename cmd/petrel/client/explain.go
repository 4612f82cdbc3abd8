package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// explainOptions are the flags of petrel explain.
type explainOptions struct {
	options
	http string
}

func newExplainCommand(streams Streams) *cobra.Command {
	o := &explainOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:   "explain FILE|APP",
		Short: "Say what a module is, how it is served, and why",
		Long: `Say what a module is, how it would be served and which import or export decides that, what it imports and what of it is
not served, whether its instances can be copies of a snapshot, and which limits apply. For an app, say what runs.

A file is read here: no server is asked, and nothing is deployed. What Petrel would refuse ends with exit code 4.`,
		Example: "  petrel explain hello.wasm\n  petrel explain server.wasm --http wagi\n  petrel explain hello",
		Args:    usage(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.explain(cmd.Context(), args[0]) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.http, "http", "", "the way of serving to judge: "+fmt.Sprint(module.HTTPModes())+" (of a file)")
	return cmd
}

func (o *explainOptions) explain(ctx context.Context, arg string) error {
	if !isFile(arg) {
		return o.explainApp(ctx, arg)
	}
	m, err := openModule(arg)
	if err != nil {
		return err
	}
	wasm, err := io.ReadAll(m)
	if err = errors.Join(err, m.Close()); err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	e, refused := explainModule(wasm, o.http)
	if e != nil {
		e.File = arg
		if err := o.print(e, e.Text); err != nil {
			return err
		}
	}
	if refused != nil {
		return &apps.Problem{
			Type: "about:blank", Title: "The module cannot run here", Status: http.StatusUnprocessableEntity,
			Code: string(refused.Code), Field: refused.Field, Cause: refused.Cause, Fix: refused.Fix,
		}
	}
	return nil
}

func (o *explainOptions) print(value any, text func() string) error {
	if !o.json() {
		_, err := io.WriteString(o.Out, text())
		return err
	}
	enc := json.NewEncoder(o.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// explainApp asks what runs.
func (o *explainOptions) explainApp(ctx context.Context, name string) error {
	path, query := "/v1/apps/"+url.PathEscape(name), url.Values{"namespace": {o.namespace}}
	e := &appExplanation{}
	if _, err := o.fetch(ctx, call{method: http.MethodGet, path: path, query: query}, &e.App); err != nil {
		return err
	}
	var versions apps.VersionList
	if _, err := o.fetch(ctx, call{method: http.MethodGet, path: path + "/versions", query: query}, &versions); err != nil {
		return err
	}
	for i := range versions.Versions {
		if versions.Versions[i].Active {
			e.Active = &versions.Versions[i]
		}
	}
	return o.print(e, e.Text)
}
