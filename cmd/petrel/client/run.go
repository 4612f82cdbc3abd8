package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// cleanupPatience bounds the removal of a run's pod, which happens when everything else is over.
const cleanupPatience = 10 * time.Second

// runOptions are the flags of petrel run.
type runOptions struct {
	options
	name     string
	env      []string
	memory   string
	wallTime time.Duration
	timeout  time.Duration
	keep     bool
	stdin    bool
}

func newRunCommand(streams Streams) *cobra.Command {
	o := &runOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:   "run FILE|IMAGE [-- ARGUMENT...]",
		Short: "Run a module once, as a pod, and end with its exit code",
		Long: `Run a WebAssembly command once: its output streams back, its exit code becomes petrel's, and its pod is
removed. Ctrl-C ends it. Petrel's own failures have exit code 125.`,
		Example: "  petrel run task.wasm -- --count 3\n  petrel run -i wordcount.wasm < README.md\n  petrel run default/task:v1 --env LEVEL=debug",
		Args:    usage(oneBeforeDash),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0], args[1:]) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the pod's name (default: the file's, and some letters)")
	f.StringArrayVarP(&o.env, "env", "e", nil, "NAME=value of the environment")
	f.StringVar(&o.memory, "memory", "", "most memory, such as 64Mi")
	f.BoolVarP(&o.stdin, "stdin", "i", false, "give the program petrel's standard input")
	f.DurationVar(&o.wallTime, "wall-time", 0, "end the program after this time")
	f.DurationVar(&o.timeout, "timeout", 0, "give up, and remove the pod, after this time (default never)")
	f.BoolVar(&o.keep, "keep", false, "leave the pod behind when it is done")
	f.Bool("rm", true, "remove the pod when it is done: that is what happens without --keep")
	if err := f.MarkHidden("rm"); err != nil {
		panic(err) // the flag is the line above
	}
	return cmd
}

// oneBeforeDash wants one module, and what follows behind "--".
func oneBeforeDash(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	if dash < 0 {
		dash = len(args)
	}
	if dash != 1 {
		return errors.New("name one module; the program's arguments follow --")
	}
	return nil
}

// run ends with the program's exit code as an error that is already told, or with petrel's own failure.
func (o *runOptions) run(ctx context.Context, arg string, args []string) error {
	err := o.runPod(ctx, arg, args)
	var exit *exitError
	var wrong usageError
	if err == nil || errors.As(err, &exit) || errors.As(err, &wrong) {
		return err
	}
	if ctx.Err() != nil {
		return &exitError{code: exitInterrupted, err: err, told: true}
	}
	if codeOf(ctx, err) == exitUnreachable {
		err = fmt.Errorf("the server does not answer: %w; start one with `petrel up`, or name another with --server or %s", err, EnvServer)
	}
	return &exitError{code: exitRun, err: err}
}

func (o *runOptions) runPod(ctx context.Context, arg string, args []string) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	image, err := o.image(ctx, arg)
	if err != nil {
		return err
	}
	pod, err := o.pod(arg, image, args)
	if err != nil {
		return err
	}
	created, err := client.CoreV1().Pods(o.namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create pod: %w", err)
	}
	r := &runner{runOptions: o, client: client, pod: created, started: time.Now()}
	code, err := r.follow(ctx)
	if cleanup := r.cleanup(); err == nil {
		err = cleanup
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("pod %s did not end within %s", created.Name, o.timeout)
		}
		return err
	}
	if code != 0 {
		return &exitError{code: int(code), told: true}
	}
	return nil
}

// image pushes a file, or makes an image's name whole.
func (o *runOptions) image(ctx context.Context, arg string) (string, error) {
	if !isFile(arg) {
		return o.wholeImage(arg)
	}
	m, err := openModule(arg)
	if err != nil {
		return "", err
	}
	defer m.Close()
	if ok, err := m.isWasm(); err != nil || !ok {
		return "", errors.Join(err, fmt.Errorf("%s is not a WebAssembly module: it does not begin with \\0asm", arg))
	}
	return o.push(ctx, m, nameFor(arg))
}

// runResult is the last value of petrel run --output json.
type runResult struct {
	Pod        string  `json:"pod"`
	Namespace  string  `json:"namespace"`
	Image      string  `json:"image"`
	ExitCode   int32   `json:"exit_code"`
	Reason     string  `json:"reason,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// runner follows one pod to its end.
type runner struct {
	*runOptions
	client  kubernetes.Interface
	pod     *corev1.Pod
	started time.Time
}

// follow streams the output and answers the exit code.
func (r *runner) follow(ctx context.Context) (int32, error) {
	if err := r.untilStarted(ctx); err != nil {
		return 0, err
	}
	stream := r.stream
	if r.stdin {
		stream = r.streamWithInput
	}
	if err := stream(ctx); err != nil {
		return 0, err
	}
	ended, err := r.untilEnded(ctx)
	if err != nil {
		return 0, err
	}
	if ended.ExitCode != 0 && ended.Reason != "" && ended.Reason != "Error" {
		// The runtime ended it (memory, wall time, a trap): the exit code alone would not tell.
		fmt.Fprintf(r.Err, "petrel: %s\n", reasonOf(ended))
	}
	if !r.json() {
		return ended.ExitCode, nil
	}
	return ended.ExitCode, printJSON(r.Out, runResult{
		Pod: r.pod.Name, Namespace: r.pod.Namespace, Image: r.pod.Spec.Containers[0].Image, ExitCode: ended.ExitCode,
		Reason: ended.Reason, DurationMS: float64(time.Since(r.started).Microseconds()) / 1e3,
	})
}

func reasonOf(t *corev1.ContainerStateTerminated) string {
	if t.Message == "" {
		return t.Reason
	}
	return t.Reason + ": " + t.Message
}

// cleanup removes the pod, also after an interruption.
func (r *runner) cleanup() error {
	if r.keep {
		fmt.Fprintf(r.Err, "petrel: kept pod %s\n", r.pod.Name)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience)
	defer cancel()
	now := int64(0)
	err := r.client.CoreV1().Pods(r.pod.Namespace).Delete(ctx, r.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &r.pod.UID},
	})
	if err != nil {
		return fmt.Errorf("remove pod %s: %w", r.pod.Name, err)
	}
	return nil
}
