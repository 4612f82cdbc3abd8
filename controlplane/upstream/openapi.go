package upstream

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed openapi
var documents embed.FS

// OpenAPIV3 is Kubernetes' OpenAPI version 3, gzipped, by the path below /openapi/v3 ("api/v1", "apis/apps/v1"), cut
// to what is served.
func OpenAPIV3() map[string][]byte {
	entries, err := documents.ReadDir("openapi/v3")
	if err != nil {
		panic(err) // embedded above
	}
	out := map[string][]byte{}
	for _, e := range entries {
		path := strings.ReplaceAll(strings.TrimSuffix(e.Name(), ".json.gz"), "__", "/")
		out[path] = document("openapi/v3/" + e.Name())
	}
	return out
}

// OpenAPIV2JSON and OpenAPIV2Protobuf are version 2, gzipped. Protobuf merges what is appended to it.
func OpenAPIV2JSON() []byte { return document("openapi/v2.json.gz") }

// OpenAPIV2Protobuf is the same as the message that client-go reads.
func OpenAPIV2Protobuf() []byte { return document("openapi/v2.pb.gz") }

func document(name string) []byte {
	body, err := documents.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("embedded document: %v", err))
	}
	return body
}
