package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	client "k8s.io/client-go/tools/remotecommand"
	upgrader "k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// translate speaks version 5 of the channel protocol with the client, which can close single streams, and SPDY with the
// runtime. Once the client is connected, failures are told to it on its own error channel.
func (y *Relay) translate(w http.ResponseWriter, r *http.Request, o Options, t *target) error {
	// The libraries log what is no more than a client's leaving as errors.
	ctx, cancel := context.WithCancel(klog.NewContext(r.Context(), logr.Discard()))
	defer cancel()
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: channels(o)},
	})
	conn.SetIdleTimeout(idleTimeout)
	_, streams, err := conn.Open(&watched{ResponseWriter: w, closed: cancel}, r.WithContext(ctx))
	if err != nil {
		y.log.Debug("websocket was not opened", "error", err)
		return nil // the library has answered
	}
	defer conn.Close()
	if _, err := streams[firstOutput(o)].Write(nil); err != nil { // tells the client that it is connected
		return nil
	}
	err = y.run(ctx, o, t, streams)
	switch {
	case r.Context().Err() != nil:
		err = errStopped
	case ctx.Err() != nil:
		return nil // the client has gone
	}
	told, err := json.Marshal(outcome(err))
	if err != nil {
		return nil // plain structs always marshal
	}
	conn.SetWriteDeadline(lastWords)
	_, _ = streams[remotecommand.StreamErr].Write(told)
	return nil
}

// errStopped tells a client that not the command, but this server has ended.
var errStopped = errors.New("the node's server was stopped; the command may go on")

// run connects the client's streams to the runtime's until the command ends.
func (y *Relay) run(ctx context.Context, o Options, t *target, streams []io.ReadWriteCloser) error {
	tripper, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{UpgradeTransport: t.during(ctx), PingPeriod: pingPeriod})
	if err != nil {
		return fmt.Errorf("prepare SPDY: %w", err)
	}
	executor, err := client.NewSPDYExecutorRejectRedirects(tripper, upgrader.NewUpgraderForStreaming(tripper), http.MethodPost, t.url)
	if err != nil {
		return fmt.Errorf("prepare SPDY: %w", err)
	}
	options := client.StreamOptions{Tty: o.TTY}
	if o.Stdin {
		options.Stdin = streams[remotecommand.StreamStdIn]
	}
	if o.Stdout {
		options.Stdout = streams[remotecommand.StreamStdOut]
	}
	if o.Stderr {
		options.Stderr = streams[remotecommand.StreamStdErr]
	}
	if o.TTY {
		options.TerminalSizeQueue = &sizes{from: json.NewDecoder(streams[remotecommand.StreamResize])}
	}
	return executor.StreamWithContext(ctx, options)
}

func channels(o Options) []wsstream.ChannelType {
	all := make([]wsstream.ChannelType, remotecommand.StreamResize+1)
	for channel, kind := range map[int]struct {
		wanted bool
		kind   wsstream.ChannelType
	}{
		remotecommand.StreamStdIn:  {o.Stdin, wsstream.ReadChannel},
		remotecommand.StreamStdOut: {o.Stdout, wsstream.WriteChannel},
		remotecommand.StreamStdErr: {o.Stderr, wsstream.WriteChannel},
		remotecommand.StreamErr:    {true, wsstream.WriteChannel},
		remotecommand.StreamResize: {o.TTY, wsstream.ReadChannel},
	} {
		if kind.wanted {
			all[channel] = kind.kind
		} else {
			all[channel] = wsstream.IgnoreChannel
		}
	}
	return all
}

func firstOutput(o Options) int {
	switch {
	case o.Stdout:
		return remotecommand.StreamStdOut
	case o.Stderr:
		return remotecommand.StreamStdErr
	}
	return remotecommand.StreamErr
}

// sizes reads the terminal's sizes as the client tells them.
type sizes struct{ from *json.Decoder }

// Next implements client.TerminalSizeQueue.
func (s *sizes) Next() *client.TerminalSize {
	size := new(client.TerminalSize)
	if s.from.Decode(size) != nil {
		return nil
	}
	return size
}

// outcome is how a command ended, as clients read it.
func outcome(err error) metav1.Status {
	var (
		exited exec.CodeExitError
		api    apierrors.APIStatus
	)
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exited):
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", err),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{
				{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exited.Code)},
			}},
		}
	case errors.As(err, &api):
		return api.Status()
	}
	return apierrors.NewInternalError(err).Status()
}
