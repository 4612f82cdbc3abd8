package apps

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// follower reads the logs of an app's pods as they come and go. One goroutine a pod reads; the request's own writes.
// A client that reads slowly slows the readers down: lines wait in the logs' files and none is lost.
type follower struct {
	s     *Server
	q     logQuery
	lines chan LogLine
	group sync.WaitGroup
	seen  map[types.UID]bool
	told  bool // that there are more pods than are read

	mu     sync.Mutex
	active int
}

// followLogs writes lines as they come, until the client goes or the app does.
func (s *Server) followLogs(ctx context.Context, q logQuery, out *logWriter) {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{s: s, q: q, lines: make(chan LogLine), seen: map[types.UID]bool{}}
	defer f.group.Wait()
	defer cancel()
	woken, stop := s.signals.wait(q.key)
	defer stop()
	again := time.NewTicker(recheck)
	defer again.Stop()
	if f.start(ctx, out, q.podOptions()) != nil {
		return
	}
	// A pod that comes later is read from its beginning, whatever tail says.
	later := q
	later.tail = nil
	for {
		select {
		case line := <-f.lines:
			if out.write(&line) != nil {
				return
			}
			if !f.drain(out) {
				return
			}
			out.flush()
		case <-woken:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if f.start(ctx, out, later.podOptions()) != nil {
			return
		}
		if _, ok := s.cached(q.key); !ok && f.idle() {
			return
		}
	}
}

// drain writes what is ready, so that many lines go out in one packet.
func (f *follower) drain(out *logWriter) bool {
	for range maxLogPods {
		select {
		case line := <-f.lines:
			if out.write(&line) != nil {
				return false
			}
		default:
			return true
		}
	}
	return true
}

// start begins to read the pods that are new.
func (f *follower) start(ctx context.Context, out *logWriter, opts *corev1.PodLogOptions) error {
	pods := f.s.logPods(f.q.key)
	for _, pod := range pods {
		if f.seen[pod.UID] {
			continue
		}
		if f.reading() >= maxLogPods {
			if !f.told {
				f.told = true
				return out.write(leftOut(len(pods)))
			}
			return nil
		}
		f.seen[pod.UID] = true
		f.add(1)
		f.group.Go(func() {
			defer f.add(-1)
			f.read(ctx, pod, opts.DeepCopy())
		})
	}
	return nil
}

func (f *follower) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active += n
}

func (f *follower) reading() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active
}

func (f *follower) idle() bool { return f.reading() == 0 }

// read follows one pod over its container's restarts, until the pod is gone or done.
func (f *follower) read(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) {
	opts.Container = pod.Spec.Containers[0].Name
	var last time.Time
	for {
		if stream, err := f.s.cfg.Logs.Open(ctx, pod.Namespace, pod.Name, opts); err == nil {
			src := newLogSource(stream, pod.Name, opts.Container)
			for src.next() {
				// What was told before the log was opened again is not told twice.
				if !last.IsZero() && !src.line.Time.After(last) {
					continue
				}
				select {
				case f.lines <- src.line:
				case <-ctx.Done():
					src.Close()
					return
				}
			}
			last = laterOf(last, src.line.Time)
			src.Close()
			// The next opening goes on where this one ended; its time has whole seconds only, hence the check above.
			if opts.TailLines = nil; !last.IsZero() {
				since := metav1.NewTime(last)
				opts.SinceTime = &since
			}
		}
		if f.over(pod) {
			return
		}
		timer := time.NewTimer(logRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// over tells that nothing more will come from the pod.
func (f *follower) over(pod *corev1.Pod) bool {
	found, ok, err := f.s.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !ok {
		return true
	}
	now, ok := found.(*corev1.Pod)
	return !ok || now.UID != pod.UID || now.Status.Phase == corev1.PodSucceeded || now.Status.Phase == corev1.PodFailed
}
