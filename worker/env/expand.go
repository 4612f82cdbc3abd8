package env

import "strings"

// Expand replaces $(NAME) by the value that lookup knows. An unknown name stays as it is written; $$ stands for one $,
// so that $$(NAME) yields $(NAME).
func Expand(s string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			reference := s[i : i+end+1]
			value, ok := lookup(reference[2:end])
			if !ok {
				value = reference
			}
			out.WriteString(value)
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
