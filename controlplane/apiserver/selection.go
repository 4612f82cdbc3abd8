package apiserver

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// query reads the namespace and the selectors.
func query(c echo.Context, d *resource.Definition) (store.Query, error) {
	return parseQuery(param(c, "ns"), c.QueryParams(), d.Rules.Selectable())
}

func parseQuery(namespace string, q url.Values, selectable []string) (store.Query, error) {
	out := store.Query{Namespace: namespace}
	label, fieldText := q.Get("labelSelector"), q.Get("fieldSelector")
	if len(label) > maxSelectorBytes || len(fieldText) > maxSelectorBytes {
		return out, apierrors.NewBadRequest(fmt.Sprintf("a selector may have %d bytes", maxSelectorBytes))
	}
	var err error
	if label != "" {
		if out.Labels, err = labels.Parse(label); err != nil {
			return out, apierrors.NewBadRequest(fmt.Sprintf("labelSelector: %v", err))
		}
	}
	if fieldText == "" {
		return out, nil
	}
	if out.Fields, err = fields.ParseSelector(fieldText); err != nil {
		return out, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: %v", err))
	}
	for _, r := range out.Fields.Requirements() {
		if r.Field != "metadata.name" && r.Field != "metadata.namespace" && !slices.Contains(selectable, r.Field) {
			return out, apierrors.NewBadRequest("field label not supported: " + r.Field)
		}
	}
	return out, nil
}

// selectedName is the one object that a list or a watch is about by its field selector; empty when there may be others.
func selectedName(q url.Values) string {
	text := q.Get("fieldSelector")
	if text == "" || len(text) > maxSelectorBytes {
		return ""
	}
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return "" // the handler says what is wrong with it
	}
	name, _ := selector.RequiresExactMatch("metadata.name")
	return name
}

// reading is what a list or a watch says about how fresh its answer must be.
type reading struct {
	version  string // as sent: empty, "0" and a number mean three things
	revision int64
	match    metav1.ResourceVersionMatch
	initial  *bool // sendInitialEvents
}

func parseReading(q url.Values) (reading, error) {
	r := reading{version: q.Get("resourceVersion"), match: metav1.ResourceVersionMatch(q.Get("resourceVersionMatch"))}
	if q.Has("sendInitialEvents") {
		b := boolean(q, "sendInitialEvents")
		r.initial = &b
	}
	if r.version == "" {
		return r, nil
	}
	n, err := strconv.ParseUint(r.version, 10, 63)
	if err != nil {
		return r, apierrors.NewBadRequest(fmt.Sprintf("resourceVersion %q: must be a number", r.version))
	}
	r.revision = int64(n)
	return r, nil
}

func forbidden(name, detail string) error {
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "",
		field.ErrorList{field.Forbidden(field.NewPath(name), detail)})
}

// listOptions reads a list's parameters.
func listOptions(c echo.Context, d *resource.Definition) (store.ListOptions, error) {
	q, err := query(c, d)
	if err != nil {
		return store.ListOptions{}, err
	}
	return parseListOptions(q, c.QueryParams())
}

func parseListOptions(query store.Query, q url.Values) (store.ListOptions, error) {
	opts := store.ListOptions{Query: query, Continue: q.Get("continue")}
	r, err := parseReading(q)
	if err != nil {
		return opts, err
	}
	if opts.Limit, _, err = integer(q, "limit"); err != nil {
		return opts, err
	}
	opts.Limit = max(opts.Limit, 0)
	if err := r.checkList(opts.Continue); err != nil {
		return opts, err
	}
	switch {
	case opts.Continue != "":
	case r.version == "":
		opts.Fresh = true
	case r.match == metav1.ResourceVersionMatchExact, r.match == "" && opts.Limit > 0 && r.revision > 0:
		opts.Revision, opts.Exact = r.revision, true
	default:
		opts.Revision = r.revision
	}
	return opts, nil
}

func (r reading) checkList(token string) error {
	const version, match = "resourceVersion", "resourceVersionMatch"
	switch {
	case r.initial != nil:
		return forbidden("sendInitialEvents", "is for watches only")
	case r.match != "" && r.match != metav1.ResourceVersionMatchExact && r.match != metav1.ResourceVersionMatchNotOlderThan:
		return forbidden(match, "must be Exact or NotOlderThan")
	case r.match != "" && token != "":
		return forbidden(match, "does not go with continue, which names its revision itself")
	case r.match != "" && r.version == "":
		return forbidden(match, "needs a resourceVersion")
	case r.match == metav1.ResourceVersionMatchExact && r.version == "0":
		return forbidden(match, "Exact needs a resourceVersion above 0")
	case token != "" && r.version != "" && r.version != "0":
		return forbidden(version, "does not go with continue, which names its revision itself")
	}
	return nil
}

func (r reading) checkWatch() error {
	const match = "resourceVersionMatch"
	switch {
	case r.initial == nil && r.match != "":
		return forbidden(match, "is for watches with sendInitialEvents only")
	case r.initial != nil && r.match != metav1.ResourceVersionMatchNotOlderThan:
		return forbidden(match, "must be NotOlderThan together with sendInitialEvents")
	}
	return nil
}
