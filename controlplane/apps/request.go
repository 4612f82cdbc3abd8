package apps

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/petrelrun/petrel/controlplane/api"
)

// options are a deploy's query parameters that are no configuration.
type options struct {
	wait    bool
	timeout time.Duration
	dryRun  bool
}

// appKey reads the app and the namespace that a request speaks of.
func appKey(r *http.Request) (types.NamespacedName, *Problem) {
	key, p := namespaceOf(r)
	if p != nil {
		return key, p
	}
	key.Name = r.PathValue("app")
	if msgs := api.ValidateAppName(key.Name); len(msgs) > 0 {
		return key, invalid("invalid_name", "app", fmt.Sprintf("the app name %q is not usable: %s", key.Name, msgs[0]),
			fmt.Sprintf("use at most %d lower-case letters, digits and dashes, with a letter or digit at both ends: the name becomes a host name", api.MaxAppNameLength))
	}
	return key, nil
}

func namespaceOf(r *http.Request) (types.NamespacedName, *Problem) {
	namespace := r.URL.Query().Get("namespace")
	if namespace == "" {
		namespace = "default"
	}
	if msgs := validation.IsDNS1123Label(namespace); len(msgs) > 0 {
		return types.NamespacedName{}, invalid("invalid_name", "namespace", fmt.Sprintf("the namespace %q is not usable: %s", namespace, msgs[0]),
			"name an existing namespace, or leave ?namespace= out for default")
	}
	return types.NamespacedName{Namespace: namespace}, nil
}

// deployParameters are those that a deploy knows. Others are refused: a misspelt one would silently do nothing.
var deployParameters = append([]string{
	"namespace", "wait", "timeout", "dry_run", "replicas", "env", "arg", "isolation", "http", "egress",
}, limitNames()...)

// readOptions reads the query; configuration in it goes into c.
func readOptions(q url.Values, c *change) (options, *Problem) {
	o := options{wait: true, timeout: DefaultTimeout}
	for name := range q {
		if !slices.Contains(deployParameters, name) {
			return o, badRequest(name, "the query parameter "+name+" is not known", "known are "+strings.Join(deployParameters, ", "))
		}
	}
	var p *Problem
	if o.wait, p = flag(q, "wait", true); p != nil {
		return o, p
	}
	if o.dryRun, p = flag(q, "dry_run", false); p != nil {
		return o, p
	}
	if text := q.Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > MaxTimeout {
			return o, badRequest("timeout", "timeout="+text+" is not usable", "write a duration up to "+MaxTimeout.String()+", such as 30s")
		}
		o.timeout = d
	}
	return o, readConfig(q, c)
}

// readConfig reads configuration from the query, for who sends the bare module.
func readConfig(q url.Values, c *change) *Problem {
	if q.Has("replicas") {
		var p *Problem
		if c.replicas, p = numberIn("replicas", q.Get("replicas")); p != nil {
			return p
		}
	}
	for name, field := range map[string]**string{"isolation": &c.isolation, "http": &c.http} {
		if q.Has(name) {
			value := q.Get(name)
			*field = &value
		}
	}
	for _, pair := range q["env"] {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return badRequest("env", "env="+pair+" has no value", "write env=NAME=value, once for each variable")
		}
		if c.env == nil {
			c.env = map[string]string{}
		}
		c.env[name] = value
	}
	c.args, c.egress = q["arg"], q["egress"]
	return readLimits(q, c)
}

func readLimits(q url.Values, c *change) *Problem {
	var l LimitsRequest
	text := func(name string, field **string) {
		if q.Has(name) {
			value := q.Get(name)
			*field = &value
		}
	}
	for _, f := range quantityLimits {
		text(f.name, f.wire(&l))
	}
	for _, f := range durationLimits {
		text(f.name, f.wire(&l))
	}
	for _, f := range countLimits {
		if !q.Has(f.name) {
			continue
		}
		var p *Problem
		if *f.wire(&l), p = numberIn(f.name, q.Get(f.name)); p != nil {
			return p
		}
	}
	return c.setLimits(l)
}

func flag(q url.Values, name string, otherwise bool) (bool, *Problem) {
	if !q.Has(name) {
		return otherwise, nil
	}
	if q.Get(name) == "" { // ?dry_run
		return true, nil
	}
	on, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, badRequest(name, name+"="+q.Get(name)+" is neither true nor false", "write "+name+"=1 or "+name+"=0")
	}
	return on, nil
}

// bodyKind tells a bare module from a JSON request.
func bodyKind(r *http.Request) (isJSON bool, p *Problem) {
	header := r.Header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(header)
	if header != "" && err != nil {
		mediaType = header
	}
	switch mediaType {
	// curl -T names no type, curl --data-binary names a form.
	case "", "application/wasm", "application/octet-stream", "application/x-www-form-urlencoded":
		return false, nil
	case "application/json":
		return true, nil
	}
	return false, problem(http.StatusUnsupportedMediaType, "unsupported_media_type", "The body's type is not understood", "Content-Type",
		"the body is sent as "+mediaType, "send a module as application/wasm, or a request as application/json")
}

// decodeRequest reads a JSON body. Unknown and repeated fields are errors: they would silently do nothing.
func decodeRequest(raw []byte) (*Request, *Problem) {
	var req Request
	strict, err := kjson.UnmarshalStrict(raw, &req)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return nil, badRequest("body", "the JSON body cannot be read: "+err.Error(),
			`send an object such as {"image": "default/hello:v1", "env": {"NAME": "value"}, "args": [], "replicas": 2, "limits": {"memory": "64Mi", "wall_time": "10s", "concurrency": 8}}`)
	}
	return &req, nil
}

func (s *Server) readRequest(r *http.Request, c *change) *Problem {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequestJSON+1))
	if err != nil {
		return bodyProblem(err, "request", maxRequestJSON)
	}
	if len(raw) > maxRequestJSON {
		return tooLarge("request", maxRequestJSON)
	}
	req, p := decodeRequest(raw)
	if p != nil {
		return p
	}
	return s.takeRequest(req, c)
}

// takeRequest adds a JSON request to the change; what both it and the query name is the request's.
func (s *Server) takeRequest(req *Request, c *change) *Problem {
	c.image = req.Image
	if req.Env != nil {
		c.env = req.Env
	}
	if req.Args != nil {
		c.args = req.Args
	}
	if req.Replicas != nil {
		c.replicas = req.Replicas
	}
	if req.Isolation != nil {
		c.isolation = req.Isolation
	}
	if req.HTTP != nil {
		c.http = req.HTTP
	}
	if req.Egress != nil {
		c.egress = req.Egress
	}
	if req.Limits != nil {
		return c.setLimits(*req.Limits)
	}
	return nil
}

// bodyProblem tells a client that was cut off from a body that is too large.
func bodyProblem(err error, what string, limit int64) *Problem {
	var over *http.MaxBytesError
	if errors.Is(err, errTooLarge) || errors.As(err, &over) {
		return tooLarge(what, limit)
	}
	return badRequest("body", "the body could not be read: "+err.Error(), "send it again")
}
