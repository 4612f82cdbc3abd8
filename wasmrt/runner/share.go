package runner

import (
	"unique"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// share makes the strings of a description that replicas have in common one and the same. Ten thousand pods of one module
// differ in little more than their ids.
func share(p *control.CreateParams) {
	for _, s := range []*string{&p.ModulePath, &p.Digest, &p.Isolation, &p.HTTP} {
		*s = unique.Make(*s).Value()
	}
	for _, list := range [][]string{p.Args, p.Env, p.Egress} {
		for i := range list {
			list[i] = unique.Make(list[i]).Value()
		}
	}
	for i := range p.Mounts {
		p.Mounts[i].GuestPath = unique.Make(p.Mounts[i].GuestPath).Value()
	}
}
