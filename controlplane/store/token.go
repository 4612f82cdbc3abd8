package store

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// tokenVersion is what a token's first field must be. A token is only good for the version that made it: clients hold
// one for minutes.
const tokenVersion = 1

// anyRevision in a token means that the page it leads to is of whatever state is present then.
const anyRevision = -1

// token is where a list goes on. It names its place below the resource's own prefix, so that no token can lead
// anywhere else.
type token struct {
	Version  int    `json:"v"`
	Revision int64  `json:"rv"`
	After    string `json:"after"` // the last key of the page before
}

func (t token) encode() string {
	t.Version = tokenVersion
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // it holds numbers and a string
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeToken checks all that it takes over: tokens come from outside.
func decodeToken(r *Resource, namespace, text string) (token, error) {
	var t token
	if len(text) > maxTokenBytes {
		return t, fmt.Errorf("it is longer than %d bytes", maxTokenBytes)
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, errors.New("it is not base64")
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, errors.New("it is not what it was given as")
	}
	if t.Version != tokenVersion {
		return t, fmt.Errorf("its version is %d, not %d", t.Version, tokenVersion)
	}
	if t.Revision <= 0 && t.Revision != anyRevision {
		return t, fmt.Errorf("its resource version is %d", t.Revision)
	}
	within, _, err := splitObjectKey(r, t.After)
	if err != nil {
		return t, fmt.Errorf("its place: %w", err)
	}
	if namespace != "" && within != namespace {
		return t, errors.New("its place is in another namespace")
	}
	return t, nil
}
