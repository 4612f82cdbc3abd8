package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/controlplane/apps"
)

// deployOptions are the flags of petrel deploy.
type deployOptions struct {
	options
	name      string
	env, args []string
	egress    []string
	replicas  int32
	wait      bool
	timeout   time.Duration
	dryRun    bool
	changed   func(flag string) bool
	value     func(flag string) string
}

func newDeployCommand(streams Streams) *cobra.Command {
	o := &deployOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:   "deploy FILE|IMAGE",
		Short: "Deploy a module as an app and wait until it answers",
		Long: `Deploy a WebAssembly module as an app: upload it, check it, make a version of it, and wait until that serves.
The version before goes on serving until then, and stays when the new one does not come up.

What is not named stays as it was: environment, arguments, limits and replicas of an app outlive its versions.
The environment travels in the request's URL: keep secrets in a Secret.`,
		Example: "  petrel deploy hello.wasm\n  petrel deploy hello.wasm --name greeter --env GREETING=hi --replicas 2",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.changed = cmd.Flags().Changed
		o.value = func(flag string) string { return cmd.Flags().Lookup(flag).Value.String() }
		return o.run(cmd.Context(), args[0])
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the app's name (default: the file's)")
	f.StringArrayVarP(&o.env, "env", "e", nil, "NAME=value of the environment; all of it is replaced")
	f.StringArrayVar(&o.args, "arg", nil, "an argument; all of them are replaced")
	f.Int32Var(&o.replicas, "replicas", 1, "how many pods serve")
	f.StringArrayVar(&o.egress, "egress", nil, "what the guest may reach, such as tcp:db.example.com:5432 or dns; all of it is replaced")
	addSandboxFlags(f)
	f.BoolVar(&o.wait, "wait", true, "wait until the app answers")
	f.DurationVar(&o.timeout, "timeout", apps.DefaultTimeout, "how long to wait")
	f.BoolVar(&o.dryRun, "dry-run", false, "tell what would be done, and do nothing")
	return cmd
}

func (o *deployOptions) run(ctx context.Context, arg string) error {
	name := o.name
	if name == "" {
		name = nameFor(arg)
	}
	if name == "" {
		return usageError{fmt.Errorf("no app name can be made of %s: give one with --name", arg)}
	}
	query, err := o.query()
	if err != nil {
		return err
	}
	c := call{method: http.MethodPut, path: "/v1/apps/" + url.PathEscape(name), query: query}
	if isFile(arg) {
		m, err := openModule(arg)
		if err != nil {
			return err
		}
		defer m.Close()
		c.contentType, c.body, c.size, c.file = "application/wasm", m, m.size, arg
	} else {
		body, err := json.Marshal(apps.Request{Image: arg})
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		c.contentType, c.text = "application/json", string(body)
	}
	stop := o.progress(ctx, name)
	defer stop()
	if o.dryRun {
		return o.tell(ctx, c, stop, &apps.Plan{})
	}
	return o.tell(ctx, c, stop, &apps.Deployed{})
}

// texter is an answer that people can read.
type texter interface{ Text() string }

func (o *deployOptions) tell(ctx context.Context, c call, stop func(), out texter) error {
	raw, err := o.fetch(ctx, c, out)
	stop()
	if err != nil {
		return err
	}
	if o.json() {
		_, err = o.Out.Write(raw)
		return err
	}
	_, err = fmt.Fprint(o.Out, out.Text())
	return err
}

// query carries what was said on the command line, and only that.
func (o *deployOptions) query() (url.Values, error) {
	if _, err := parseEnv(o.env); err != nil {
		return nil, err
	}
	q := url.Values{}
	q.Set("namespace", o.namespace)
	for name, value := range map[string]string{
		"replicas": strconv.Itoa(int(o.replicas)), "timeout": o.timeout.String(), "wait": strconv.FormatBool(o.wait),
	} {
		if o.changed(name) {
			q.Set(name, value)
		}
	}
	for _, flag := range sandboxFlags {
		if o.changed(flag) {
			q.Set(strings.ReplaceAll(flag, "-", "_"), o.value(flag))
		}
	}
	if o.dryRun {
		q.Set("dry_run", "1")
	}
	q["env"], q["arg"], q["egress"] = o.env, o.args, o.egress
	return q, nil
}
