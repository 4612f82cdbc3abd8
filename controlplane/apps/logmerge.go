package apps

import (
	"container/heap"
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// mergeLogs writes what the pods have said so far, in the order of time.
func (s *Server) mergeLogs(ctx context.Context, q logQuery, out *logWriter) {
	pods := s.logPods(q.key)
	if len(pods) > maxLogPods {
		if out.write(leftOut(len(pods))) != nil {
			return
		}
		pods = pods[:maxLogPods]
	}
	var merge mergeHeap
	defer func() { merge.close() }()
	for _, pod := range pods {
		if src := s.openLog(ctx, pod, q, out); src != nil {
			merge = append(merge, src)
		}
	}
	heap.Init(&merge)
	for len(merge) > 0 {
		src := merge[0]
		if out.write(&src.line) != nil {
			return
		}
		if src.next() {
			heap.Fix(&merge, 0)
			continue
		}
		s.logEnded(src, out)
		heap.Pop(&merge).(*logSource).Close()
	}
	out.flush()
}

// openLog opens a pod's log and reads its first line: nil when there is none.
func (s *Server) openLog(ctx context.Context, pod *corev1.Pod, q logQuery, out *logWriter) *logSource {
	opts := q.podOptions()
	opts.Container = pod.Spec.Containers[0].Name
	stream, err := s.cfg.Logs.Open(ctx, pod.Namespace, pod.Name, opts)
	if err != nil {
		// One pod that has not started, or whose node is away, does not silence the others.
		_ = out.write(&LogLine{Pod: pod.Name, Notice: "the log cannot be read: " + err.Error()})
		return nil
	}
	src := newLogSource(stream, pod.Name, opts.Container)
	if !src.next() {
		s.logEnded(src, out)
		src.Close()
		return nil
	}
	return src
}

// logEnded tells when a log broke off rather than ended.
func (s *Server) logEnded(src *logSource, out *logWriter) {
	if src.err != nil && src.err != io.EOF {
		_ = out.write(&LogLine{Pod: src.pod, Notice: "the log broke off: " + src.err.Error()})
	}
}

// mergeHeap has the source with the earliest line on top.
type mergeHeap []*logSource

func (h mergeHeap) Len() int           { return len(h) }
func (h mergeHeap) Less(i, j int) bool { return h[i].line.Time.Before(h[j].line.Time) }
func (h mergeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *mergeHeap) Push(x any)        { *h = append(*h, x.(*logSource)) }

func (h *mergeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func (h mergeHeap) close() {
	for _, src := range h {
		src.Close()
	}
}
