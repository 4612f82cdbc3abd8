package apps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// readModule takes a bare module: to disk, through the check, into the registry.
func (s *Server) readModule(r *http.Request, d *deploy) *Problem {
	if r.ContentLength > MaxModule {
		return tooLarge("module", MaxModule)
	}
	body, err := newSpool(s.cfg.SpoolDir, r.Body, MaxModule)
	if err != nil {
		return bodyProblem(err, "module", MaxModule)
	}
	defer s.close(body)
	d.lap("upload")
	if p := s.check(body, d); p != nil {
		return p
	}
	d.lap("validate")
	if d.dryRun {
		return nil
	}
	repository := d.key.Namespace + "/" + d.key.Name
	manifest, digest, err := s.cfg.Modules.PutModule(r.Context(), repository, body.file, nil)
	if err != nil {
		return apiProblem(fmt.Errorf("store module: %w", err))
	}
	if digest != d.change.module.Digest {
		return apiProblem(fmt.Errorf("store module: it was checked as %s and stored as %s", d.change.module.Digest, digest))
	}
	d.change.image = api.Image{Host: api.RegistryHost, Repository: repository, Digest: manifest}.String()
	d.lap("store")
	return nil
}

func (s *Server) close(body *spool) {
	if err := body.Close(); err != nil {
		s.cfg.Logger.Warn("close upload", "error", err)
	}
}

// check reads the module and refuses what cannot serve.
func (s *Server) check(body *spool, d *deploy) *Problem {
	raw, err := body.Bytes()
	if err != nil {
		return apiProblem(err)
	}
	info, err := module.Check(raw, module.Limits{MaxSize: MaxModule})
	if err != nil {
		return moduleProblem(err)
	}
	d.change.module = describe(info)
	return d.judge(info)
}

// judge says how the module will serve. A command can: each request runs it, or it accepts connections itself. That may
// not be what was meant, so it is told unless it was asked for.
func (d *deploy) judge(info *module.Info) *Problem {
	mode := ""
	if d.change.http != nil {
		mode = *d.change.http
	}
	if !slices.Contains(module.HTTPModes(), mode) {
		mode = "" // the App's validation refuses it with all else that is wrong
	}
	abi, reason, err := module.Detect(info, mode, true)
	if err != nil {
		return moduleProblem(err)
	}
	asked := mode != "" && mode != module.HTTPAuto
	switch {
	case abi == module.ABICommand:
		return invalid("not_an_http_app", "body", "the module is a command and is to serve no HTTP",
			"run it once with `petrel run FILE`, or as a Job")
	case abi == module.ABIWAGI && !asked:
		d.warn("the module is a command: each request runs it once and answers with its output (WAGI), because %s; to run it once, use petrel run", reason)
	case abi == module.ABISockets && !asked:
		d.warn("the module is a command that listens itself: all requests share one instance, because %s", reason)
	}
	return nil
}

// describe keeps what a Revision records of a module.
func describe(info *module.Info) *api.ModuleInfo {
	out := &api.ModuleInfo{Digest: info.Digest, Size: info.Size, Kind: string(info.Kind)}
	for _, im := range info.Imports {
		out.Imports = append(out.Imports, im.Module+"."+im.Name)
	}
	slices.Sort(out.Imports)
	out.Imports = slices.Compact(out.Imports)
	return out
}

// resolveImage finds the module that a request names and makes its reference one by digest.
func (s *Server) resolveImage(ctx context.Context, d *deploy) *Problem {
	if d.change.image == "" {
		return nil // configuration alone
	}
	img, p := s.parseImage(d.change.image, d.key)
	if p != nil {
		return p
	}
	if img.Host != api.RegistryHost {
		if img.Digest == "" {
			return invalid("image_not_pinned", "image", "the image is kept elsewhere and named by a tag, which may become another module at any time",
				"name it by digest ("+img.String()+"@sha256:…), or push it to Petrel's registry")
		}
		d.change.image = img.String()
		d.warn("the module was not checked: %s is not Petrel's registry", img.Host)
		return nil
	}
	return s.openImage(ctx, d, img)
}

// parseImage reads a reference. Without a host it names Petrel's own registry, and without a folder the app's namespace.
func (s *Server) parseImage(text string, key types.NamespacedName) (api.Image, *Problem) {
	img, err := api.ParseImage(text)
	if err != nil {
		return img, invalid("invalid_image", "image", fmt.Sprintf("the image %q %v", text, err),
			"write repository:tag, or host/repository@sha256:…")
	}
	if img.Host == "" && !strings.Contains(img.Repository, "/") {
		img.Repository = key.Namespace + "/" + img.Repository
	}
	if img.Host == "" || slices.Contains(s.cfg.RegistryHosts, img.Host) {
		img.Host = api.RegistryHost
	}
	return img, nil
}

func (s *Server) openImage(ctx context.Context, d *deploy, img api.Image) *Problem {
	reference := img.Digest
	if reference == "" {
		reference = img.Tag
	}
	if reference == "" {
		reference = "latest"
	}
	digest, wasm, err := s.cfg.Modules.OpenModule(ctx, img.Repository, reference)
	if errors.Is(err, fs.ErrNotExist) {
		return invalid("image_not_found", "image", fmt.Sprintf("the registry has no %s in %s", reference, img.Repository),
			"push it first, with crane or oras, or send the module itself as the body")
	}
	if err != nil {
		return invalid("not_a_module", "image", err.Error(), "push it as a WebAssembly artifact: one layer of type application/wasm")
	}
	defer wasm.Close()
	body, err := newSpool(s.cfg.SpoolDir, wasm, MaxModule)
	if err != nil {
		return bodyProblem(err, "module", MaxModule)
	}
	defer s.close(body)
	if p := s.check(body, d); p != nil {
		if p.Field == "body" {
			p.Field = "image"
		}
		return p
	}
	d.change.image = api.Image{Host: api.RegistryHost, Repository: img.Repository, Digest: digest}.String()
	d.lap("validate")
	return nil
}

// Resolve reads the module of an App that was applied, not deployed: it answers the image by digest, and what the
// module is. It is what the App controller asks. The error is a *Problem.
func (s *Server) Resolve(ctx context.Context, namespace, image string) (string, *api.ModuleInfo, error) {
	d := &deploy{key: types.NamespacedName{Namespace: namespace}, now: s.cfg.Now, timings: map[string]float64{}}
	d.change.image = image
	d.started = d.now()
	d.last = d.started
	if p := s.resolveImage(ctx, d); p != nil {
		return "", nil, p
	}
	return d.change.image, d.change.module, nil
}
