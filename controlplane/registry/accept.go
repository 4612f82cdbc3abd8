package registry

import (
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// manifestTypes are those that olareg stores.
var manifestTypes = strings.Join([]string{
	string(types.OCIManifestSchema1), string(types.OCIImageIndex),
	string(types.DockerManifestSchema2), string(types.DockerManifestList),
}, ",")

// acceptAny spells out what a request for a manifest takes where it takes anything: olareg compares media types
// literally, so that plain curl ("*/*") and a client without an Accept header would find nothing.
func acceptAny(req *http.Request, t target) *http.Request {
	if t.kind != "manifests" || t.writes() {
		return req
	}
	accept := strings.Join(req.Header.Values("Accept"), ",")
	if accept != "" && !strings.Contains(accept, "*/*") {
		return req
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept", manifestTypes)
	return req
}
