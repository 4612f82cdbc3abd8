package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/apps"
)

// logsOptions are the flags of petrel logs.
type logsOptions struct {
	options
	follow     bool
	since      string
	tail       int64
	prefix     bool
	timestamps bool
}

func newLogsCommand(streams Streams) *cobra.Command {
	o := &logsOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:     "logs APP|pod/NAME",
		Short:   "Print what an app, or one pod, has logged",
		Long:    "Print the logs of an app's pods, merged by time; with -f go on as lines come, over new versions and pods too.",
		Example: "  petrel logs -f hello\n  petrel logs pod/task-x7k2p --tail 20",
		Args:    usage(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on as lines come")
	f.StringVar(&o.since, "since", "", "only lines since a duration ago (10m) or a time (2026-01-02T15:04:05Z)")
	f.Int64Var(&o.tail, "tail", -1, "only the last lines of each pod (default all)")
	f.BoolVar(&o.prefix, "prefix", false, "begin each line with its pod")
	f.BoolVar(&o.timestamps, "timestamps", false, "begin each line with its time")
	return cmd
}

func (o *logsOptions) run(ctx context.Context, what string) error {
	kind, name, hasKind := strings.Cut(what, "/")
	switch {
	case !hasKind:
		return o.app(ctx, what)
	case kind == "pod" || kind == "pods":
		return o.pod(ctx, name)
	case kind == "app" || kind == "apps":
		return o.app(ctx, name)
	}
	return usageError{fmt.Errorf("%s is neither an app nor pod/NAME", what)}
}

func (o *logsOptions) app(ctx context.Context, name string) error {
	query := url.Values{"namespace": {o.namespace}}
	if o.follow {
		query.Set("follow", "1")
	}
	if o.since != "" {
		query.Set("since", o.since)
	}
	if o.tail >= 0 {
		query.Set("tail", strconv.FormatInt(o.tail, 10))
	}
	resp, err := o.send(ctx, call{method: http.MethodGet, path: "/v1/apps/" + url.PathEscape(name) + "/logs", query: query})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var line apps.LogLine
		if err := dec.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read logs: %w", err)
		}
		if err := o.print(&line); err != nil {
			return err
		}
	}
}

// pod reads one pod's log through the Kubernetes API.
func (o *logsOptions) pod(ctx context.Context, name string) error {
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	opts := &corev1.PodLogOptions{Follow: o.follow, Timestamps: true}
	if o.tail >= 0 {
		opts.TailLines = &o.tail
	}
	if o.since != "" {
		if opts.SinceTime, err = parseSince(o.since); err != nil {
			return err
		}
	}
	if o.showHTTP {
		c := call{method: http.MethodGet}
		fmt.Fprintln(o.Err, c.curl(client.CoreV1().Pods(o.namespace).GetLogs(name, opts).URL().String()))
	}
	stream, err := client.CoreV1().Pods(o.namespace).GetLogs(name, opts).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read log of pod %s: %w", name, err)
	}
	defer stream.Close()
	return eachLine(stream, func(text string) error {
		line := apps.LogLine{Pod: name, Line: text}
		stamp, rest, _ := strings.Cut(text, " ")
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			line.Time, line.Line = t, rest
		}
		return o.print(&line)
	})
}

func parseSince(text string) (*metav1.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		t := metav1.NewTime(time.Now().Add(-d))
		return &t, nil
	}
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--since %s is neither a duration nor a time", text)}
	}
	t := metav1.NewTime(parsed)
	return &t, nil
}

func (o *logsOptions) print(line *apps.LogLine) error {
	if o.json() {
		return printJSON(o.Out, line)
	}
	if line.Notice != "" {
		_, err := fmt.Fprintf(o.Err, "petrel: %s\n", strings.TrimPrefix(line.Pod+": "+line.Notice, ": "))
		return err
	}
	text := line.Line
	if o.prefix {
		text = line.Pod + " | " + text
	}
	if o.timestamps {
		text = line.Time.UTC().Format(time.RFC3339Nano) + " " + text
	}
	_, err := fmt.Fprintln(o.Out, text)
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// eachLine calls do for each line, however long, without its end. A last line may lack one.
func eachLine(r io.Reader, do func(string) error) error {
	buffered := bufio.NewReader(r)
	for {
		text, err := buffered.ReadString('\n')
		if text != "" {
			if err := do(strings.TrimSuffix(text, "\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
}
