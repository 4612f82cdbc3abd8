package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/worker/flows"
)

// flowsFor is how long flows are told that are not followed.
const flowsFor = 5 * time.Second

// flowsOptions are the flags of petrel flows.
type flowsOptions struct {
	options
	follow   bool
	during   time.Duration
	nodes    []string
	pods     []string
	services []string
	verdicts []string
	filter   flows.Filter
}

func newFlowsCommand(streams Streams) *cobra.Command {
	o := &flowsOptions{options: options{Streams: streams, outputs: []string{"wide"}}}
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Tell connections as they happen",
		Long: `Tell the connections of the cluster's pods as they happen, on every node: who connects to whom, through which
service, and whether a network policy denied it or the service has no endpoint. Nothing is recorded while nobody asks.`,
		Example: `  petrel flows -f --verdict denied
  petrel flows -f -n shop --service db -o wide`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.choose(cmd.Flags().Changed("namespace")); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.Lookup("namespace").Usage = "only flows of this namespace, and where --pod and --service are (default: all)"
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until interrupted")
	f.DurationVar(&o.during, "for", flowsFor, "how long to listen without --follow")
	f.StringSliceVar(&o.nodes, "node", nil, "only these nodes (default: all)")
	f.StringSliceVar(&o.pods, "pod", nil, "only flows from or to these pods: NAME or NAMESPACE/NAME")
	f.StringSliceVar(&o.services, "service", nil, "only flows to these services: NAME or NAMESPACE/NAME, with :PORT for one port")
	f.StringSliceVar(&o.verdicts, "verdict", nil, "only these: forwarded, denied, refused")
	return cmd
}

// choose makes the filter of what the flags say.
func (o *flowsOptions) choose(namespaceGiven bool) error {
	if o.during <= 0 {
		return usageError{fmt.Errorf("--for %s is no time to listen", o.during)}
	}
	o.filter = flows.Filter{Pods: o.qualify(o.pods), Services: o.qualify(o.services), Verdicts: o.verdicts}
	if namespaceGiven {
		o.filter.Namespaces = []string{o.namespace}
	}
	if err := o.filter.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

func (o *flowsOptions) qualify(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		if out[i] = name; name != "" && !strings.Contains(name, "/") {
			out[i] = o.namespace + "/" + name
		}
	}
	return out
}

func (o *flowsOptions) run(ctx context.Context) error {
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	ended := ctx
	if !o.follow {
		var cancel context.CancelFunc
		ended, cancel = context.WithTimeout(ctx, o.during)
		defer cancel()
	}
	follower := newFlowFollower(client, o)
	err = follower.run(ended)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// line prints one flow.
func (o *flowsOptions) line(f *nodeFlow) error {
	if f.Lost > 0 {
		fmt.Fprintf(o.Err, "petrel: node %s: %d flows were lost before the next\n", f.Node, f.Lost)
	}
	if o.json() {
		return printJSON(o.Out, f)
	}
	text := fmt.Sprintf("%s  %-9s  %-7s  %-4s  %s -> %s", f.Time.Local().Format("15:04:05.000"), flows.VerdictOf(&f.Flow), f.Direction, f.Protocol,
		o.end(f.SourcePod, f.Source.String()), o.end(f.DestinationPod, f.Destination.String()))
	if f.Service != "" {
		text += "  by " + f.Service
	}
	if o.output == "wide" {
		if f.ServiceAddr.IsValid() {
			text += " " + f.ServiceAddr.String()
		}
		text += "  on " + f.Node
	}
	_, err := fmt.Fprintln(o.Out, text)
	return err
}

// end is one end of a connection: a pod's name with the port or, in wide, with the whole address.
func (o *flowsOptions) end(pod, address string) string {
	switch {
	case pod == "":
		return address
	case o.output == "wide":
		return pod + " (" + address + ")"
	}
	return pod + address[strings.LastIndexByte(address, ':'):]
}
