package apiserver

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// call reads what a write says besides its body: where, who, dry or not, how strict.
func (s *Server) call(c echo.Context, subresource string) (resource.Call, error) {
	q := c.QueryParams()
	call := resource.Call{
		Namespace: param(c, "ns"), Name: param(c, "name"), Subresource: subresource,
		Manager: q.Get("fieldManager"), FieldValidation: q.Get("fieldValidation"),
		Warn: warner(c.Response().Header()),
	}
	if u, ok := auth.UserFrom(c.Request().Context()); ok {
		call.User = &upstream.User{Name: u.Name, UID: u.UID, Groups: u.Groups}
	}
	var errs field.ErrorList
	if call.Manager == "" {
		call.Manager = managerOf(c.Request())
	} else if err := checkManager(call.Manager); err != nil {
		errs = append(errs, err)
	}
	var err *field.Error
	if call.DryRun, err = dryRun(q["dryRun"]); err != nil {
		errs = append(errs, err)
	}
	switch call.FieldValidation {
	case "":
		call.FieldValidation = metav1.FieldValidationWarn
	case metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("fieldValidation"), call.FieldValidation,
			[]string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict}))
	}
	if len(errs) > 0 {
		return call, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("WriteOptions").GroupKind(), "", errs)
	}
	return call, nil
}

func dryRun(values []string) (bool, *field.Error) {
	for _, v := range values {
		if v != metav1.DryRunAll {
			return false, field.NotSupported(field.NewPath("dryRun"), v, []string{metav1.DryRunAll})
		}
	}
	return len(values) > 0, nil
}

// managerOf names who writes where the client does not say: the program of its User-Agent.
func managerOf(r *http.Request) string {
	name, _, _ := strings.Cut(r.UserAgent(), "/")
	var b strings.Builder
	for _, c := range name {
		if unicode.IsPrint(c) && b.Len() < resource.MaxManagerLength-4 {
			b.WriteRune(c)
		}
	}
	if b.Len() == 0 {
		return "unknown"
	}
	return b.String()
}

func checkManager(name string) *field.Error {
	path := field.NewPath("fieldManager")
	if len(name) > resource.MaxManagerLength {
		return field.TooLong(path, "", resource.MaxManagerLength)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		return field.Invalid(path, name, "must consist of printable characters")
	}
	return nil
}

// maxWarnings bounds the warnings of one answer, and maxWarningBytes all of their texts: they are headers.
const (
	maxWarnings     = 20
	maxWarningBytes = 4 << 10
)

// warner adds Warning headers (RFC 7234), each text once.
func warner(h http.Header) func(string) {
	seen := map[string]bool{}
	left := maxWarningBytes
	return func(text string) {
		if seen[text] || len(seen) >= maxWarnings || len(text) > left {
			return
		}
		seen[text] = true
		left -= len(text)
		h.Add("Warning", `299 - `+quoted(text))
	}
}

// quoted is an HTTP quoted-string: only backslash and quote are escaped, and what is no text is left out.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// boolean reads a query parameter as Kubernetes does: there and neither false nor 0.
func boolean(q url.Values, name string) bool {
	if !q.Has(name) {
		return false
	}
	switch strings.ToLower(q.Get(name)) {
	case "false", "0":
		return false
	}
	return true
}

func integer(q url.Values, name string) (value int64, given bool, err error) {
	v := q.Get(name)
	if v == "" {
		return 0, false, nil
	}
	value, err = strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, true, apierrors.NewBadRequest(fmt.Sprintf("%s %q: must be a number", name, v))
	}
	return value, true, nil
}

// param is a part of the path, decoded: echo leaves it as it was sent where the path has escapes that it need not have.
func param(c echo.Context, name string) string {
	raw := c.Param(name)
	if decoded, err := url.PathUnescape(raw); err == nil && c.Request().URL.RawPath != "" {
		return decoded
	}
	return raw
}
