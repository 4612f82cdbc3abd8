package apiserver

import (
	"cmp"
	"mime"
	"slices"
	"strconv"
	"strings"
)

const (
	contentJSON     = "application/json"
	contentYAML     = "application/yaml"
	contentProtobuf = "application/vnd.kubernetes.protobuf"
)

// mediaSet says which forms an answer can take.
type mediaSet int

const (
	mediaPlain    mediaSet = 1 << iota // the object itself, as JSON or YAML
	mediaProtobuf                      // the object itself, as protobuf
	mediaTable                         // as a Table, JSON or YAML
	mediaPartial                       // metadata only, in every encoding
	mediaStream                        // a watch: no YAML
)

// form is what the client is answered in.
type form struct {
	protobuf bool
	yaml     bool
	as       string // "", asTable, asPartial
}

const (
	asTable   = "Table"
	asPartial = "PartialObjectMetadata"
)

// negotiate picks the best form that the Accept header allows and can has; without the header that is JSON.
func negotiate(accept string, can mediaSet) (form, error) {
	if strings.TrimSpace(accept) == "" {
		return form{}, nil
	}
	for _, clause := range parseAccept(accept) {
		if f, ok := clause.form(can); ok {
			return f, nil
		}
	}
	names := []string{contentJSON, contentYAML}
	if can&mediaProtobuf != 0 {
		names = append(names, contentProtobuf)
	}
	return form{}, notAcceptable("only the following media types are accepted: " + strings.Join(names, ", "))
}

// clause is one media range of an Accept header.
type clause struct {
	kind   string
	params map[string]string
	weight float64
}

// parseAccept reads the clauses, best first; of equal ones the earlier. What cannot be read is left out.
func parseAccept(accept string) []clause {
	var out []clause
	for part := range strings.SplitSeq(accept, ",") {
		if len(out) == maxAcceptClauses {
			break
		}
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		c := clause{kind: kind, params: params, weight: 1}
		if q, ok := params["q"]; ok {
			if c.weight, err = strconv.ParseFloat(q, 64); err != nil || c.weight <= 0 || c.weight > 1 {
				continue
			}
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b clause) int { return cmp.Compare(b.weight, a.weight) })
	return out
}

func (c clause) form(can mediaSet) (form, bool) {
	var f form
	switch c.kind {
	case contentJSON, "*/*", "application/*":
	case contentYAML:
		f.yaml = true
	case contentProtobuf:
		f.protobuf = true
	default:
		return form{}, false
	}
	if f.yaml && can&mediaStream != 0 {
		return form{}, false
	}
	as := c.params["as"]
	if as == "" {
		return f, can&mediaPlain != 0 && (!f.protobuf || can&mediaProtobuf != 0)
	}
	if group, version := c.params["g"], c.params["v"]; group != "meta.k8s.io" || version != "v1" {
		return form{}, false
	}
	switch as {
	case asTable:
		f.as = asTable
		return f, can&mediaTable != 0 && !f.protobuf
	case asPartial, asPartial + "List":
		f.as = asPartial
		return f, can&mediaPartial != 0
	}
	return form{}, false
}
