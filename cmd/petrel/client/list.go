package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/controlplane/apps"
)

func newListCommand(streams Streams) *cobra.Command {
	o := &options{Streams: streams}
	var all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List apps",
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.list(cmd.Context(), all) },
	}
	o.add(cmd)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "list every namespace's apps")
	return cmd
}

func (o *options) list(ctx context.Context, all bool) error {
	namespace := o.namespace
	if all {
		namespace = "*"
	}
	var list apps.AppList
	raw, err := o.fetch(ctx, call{method: http.MethodGet, path: "/v1/apps", query: url.Values{"namespace": {namespace}}}, &list)
	if err != nil {
		return err
	}
	if o.json() {
		_, err = o.Out.Write(raw)
		return err
	}
	if len(list.Apps) == 0 {
		_, err = fmt.Fprintln(o.Err, "no apps")
		return err
	}
	_, err = fmt.Fprint(o.Out, list.Table(all))
	return err
}

func newRemoveCommand(streams Streams) *cobra.Command {
	o := &options{Streams: streams}
	cmd := &cobra.Command{
		Use:     "rm APP...",
		Aliases: []string{"remove"},
		Short:   "Remove apps with all that belongs to them",
		Args:    usage(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.remove(cmd.Context(), args) },
	}
	o.add(cmd)
	return cmd
}

func (o *options) remove(ctx context.Context, names []string) error {
	for _, name := range names {
		var out apps.Deleted
		raw, err := o.fetch(ctx, call{
			method: http.MethodDelete, path: "/v1/apps/" + url.PathEscape(name), query: url.Values{"namespace": {o.namespace}},
		}, &out)
		if err != nil {
			return err
		}
		if o.json() {
			_, err = o.Out.Write(raw)
		} else {
			_, err = fmt.Fprintf(o.Out, "%s removed\n", out.App)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
