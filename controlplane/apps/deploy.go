package apps

import (
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/wasmrt/egress"
)

// deploy is one PUT on its way.
type deploy struct {
	options
	key    types.NamespacedName
	change change

	now      func() time.Time
	started  time.Time
	last     time.Time // when the last lap ended
	timings  map[string]float64
	warnings []string
}

// lap ends a step: its time is from the end of the one before.
func (d *deploy) lap(step string) {
	now := d.now()
	d.timings[step] = millis(now.Sub(d.last))
	d.last = now
}

func (d *deploy) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// millis has microseconds behind the point; more would pretend.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func (s *Server) putApp(w http.ResponseWriter, r *http.Request) {
	d, p := s.newDeploy(r)
	if p == nil {
		p = s.read(r, d)
	}
	if p == nil && d.dryRun {
		var plan *Plan
		if plan, p = s.plan(r.Context(), d); p == nil {
			respond(w, r, http.StatusOK, plan)
			return
		}
	}
	if p == nil {
		var status int
		var out *Deployed
		if status, out, p = s.carryOut(r, d); p == nil {
			w.Header().Set("Location", r.URL.Path)
			respond(w, r, status, out)
			return
		}
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		s.drain(w, r)
	}
	p.write(w, r)
}

// drain reads on when a body is refused for its length: a client that sends first and reads then would lose the
// answer to a reset connection. One that asks before it sends (Expect: 100-continue) needs no such patience.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "" {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainPatience)); err != nil {
		return
	}
	if n, err := io.CopyN(io.Discard, r.Body, maxDrain); err != nil && err != io.EOF {
		s.cfg.Logger.Debug("drain refused body", "bytes", n, "error", err)
	}
}

// newDeploy reads everything but the body, and makes sure that there is a place to deploy to before a body is asked for.
func (s *Server) newDeploy(r *http.Request) (*deploy, *Problem) {
	d := &deploy{now: s.cfg.Now, timings: map[string]float64{}}
	d.started = d.now()
	d.last = d.started
	var p *Problem
	if d.key, p = appKey(r); p != nil {
		return nil, p
	}
	if d.options, p = readOptions(r.URL.Query(), &d.change); p != nil {
		return nil, p
	}
	got, err := s.cfg.Client.Get(r.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.key.Namespace}})
	if apierrors.IsNotFound(err) {
		return nil, problem(http.StatusNotFound, "namespace_not_found", "There is no such namespace", "namespace",
			"the namespace "+d.key.Namespace+" does not exist", "make it with `kubectl create namespace "+d.key.Namespace+"`, or leave ?namespace= out")
	}
	if err != nil {
		return nil, apiProblem(err)
	}
	if got.GetDeletionTimestamp() != nil {
		return nil, problem(http.StatusConflict, "namespace_terminating", "The namespace is being removed", "namespace",
			"the namespace "+d.key.Namespace+" is being removed with all that is in it", "wait until it is gone and make it again, or use another")
	}
	return d, nil
}

// read takes the body and learns which module and configuration it means.
func (s *Server) read(r *http.Request, d *deploy) *Problem {
	isJSON, p := bodyKind(r)
	if p != nil {
		return p
	}
	release, p := s.acquire(r.Context())
	if p != nil {
		return p
	}
	defer release()
	if !isJSON {
		if p := s.readModule(r, d); p != nil {
			return p
		}
		return validateChange(d)
	}
	if p := s.readRequest(r, &d.change); p != nil {
		return p
	}
	d.lap("upload")
	if p := s.resolveImage(r.Context(), d); p != nil {
		return p
	}
	return validateChange(d)
}

// validateChange checks what can be checked without the app that the change goes to.
func validateChange(d *deploy) *Problem {
	probe := api.App{}
	probe.Name, probe.Namespace = d.key.Name, d.key.Namespace
	probe.Spec.Replicas = d.change.replicas
	probe.Spec.AppTemplate = d.change.apply(&api.AppTemplate{})
	errs := api.ValidateApp(&probe)
	if len(errs) == 0 {
		return checkEgress(probe.Spec.Egress)
	}
	p := apiProblem(apierrors.NewInvalid(api.AppResource.GVK.GroupKind(), d.key.Name, errs))
	p.Fix = "correct the fields that are named"
	return p
}

// checkEgress reads the grants as the runtime will, so that a wrong one is told now and not by a pod.
func checkEgress(grants []string) *Problem {
	if _, err := egress.Parse(grants); err != nil {
		return invalid("invalid", "egress", err.Error(), "write tcp:db.example.com:5432, udp:10.0.0.0/8:53, http:api.example.com, https:*.example.com, dns or *")
	}
	return nil
}

// carryOut writes the version and waits for it as the request asks.
func (s *Server) carryOut(r *http.Request, d *deploy) (int, *Deployed, *Problem) {
	o, err := s.revise(r.Context(), d)
	if err != nil {
		return 0, nil, apiProblem(err)
	}
	status := http.StatusOK
	if o.made {
		status = http.StatusCreated
	}
	out := s.answerOf(d, o)
	switch {
	case o.superseded:
		d.warn("version %d was deployed meanwhile and serves instead", o.app.Spec.Version)
	case !d.wait:
	case *o.app.Spec.Replicas == 0:
		d.warn("replicas is 0: nothing serves the app")
	default:
		if p := s.await(r.Context(), d, o, out); p != nil {
			return 0, nil, p
		}
	}
	d.timings["total"] = millis(d.now().Sub(d.started))
	out.Warnings = d.warnings
	return status, out, nil
}

func (s *Server) answerOf(d *deploy, o *outcome) *Deployed {
	img, _ := api.ParseImage(o.revision.Spec.Image) // a stored Revision's image is well formed
	out := &Deployed{
		App: d.key.Name, Namespace: d.key.Namespace, Version: o.revision.Spec.Version, Digest: img.Digest,
		URL: s.cfg.URL(d.key.Namespace, d.key.Name), Timings: d.timings, Sandbox: sandboxOf(&o.revision.Spec.AppTemplate), Limits: limitsOf(&o.revision.Spec.Limits),
		Replicas: *o.app.Spec.Replicas, Previous: o.previous,
	}
	if m := o.revision.Spec.Module; m != nil {
		out.ModuleDigest, out.Size, out.Imports = m.Digest, m.Size, m.Imports
	}
	return out
}
