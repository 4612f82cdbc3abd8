package worker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// maxLogins bounds the credentials that are remembered of one image.
	maxLogins = 64
	// maxPrivate bounds the images that credentials are remembered of; a node holds far fewer.
	maxPrivate = 4096
)

// pulledBook remembers which images came for credentials, and for which: an image that is there is not for pods that
// could not have had it themselves. What came without any, or by other ways, is for all. Of credentials it keeps a hash
// under a key of its own.
type pulledBook struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	loaded bool
	book   pulledFile
}

// pulledFile is what is on disk.
type pulledFile struct {
	Key    []byte              `json:"key"`
	Images map[string][]string `json:"images"` // logins by the runtime's reference
}

// load reads the file when it is first needed. It wants the mutex to be held.
func (b *pulledBook) load() {
	if b.loaded {
		return
	}
	b.loaded = true
	raw, err := os.ReadFile(b.path)
	if err == nil {
		err = json.Unmarshal(raw, &b.book)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Error("who may use private images was not read back: those that are here are for all pods", "error", err)
	}
	if len(b.book.Key) != sha256.Size || b.book.Images == nil {
		b.book = pulledFile{Key: make([]byte, sha256.Size), Images: map[string][]string{}}
		_, _ = rand.Read(b.book.Key) // never fails
	}
}

// login is a credential's name in the book.
func (b *pulledBook) login(a *runtimev1.AuthConfig) string {
	mac := hmac.New(sha256.New, b.book.Key)
	fmt.Fprintf(mac, "%q%q%q%q", a.GetUsername(), a.GetPassword(), a.GetIdentityToken(), a.GetRegistryToken())
	return fmt.Sprintf("%x", mac.Sum(nil))
}

// came notes that an image was had by a credential, or by none.
func (b *pulledBook) came(ref string, auth *runtimev1.AuthConfig) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load()
	logins, private := b.book.Images[ref]
	if auth == nil {
		if !private {
			return nil
		}
		delete(b.book.Images, ref)
		return writeJSON(b.path, b.book)
	}
	login := b.login(auth)
	if slices.Contains(logins, login) {
		return nil
	}
	if !private && len(b.book.Images) >= maxPrivate {
		return fmt.Errorf("remember who may use image %s: there are %d others already", ref, maxPrivate)
	}
	logins = append(logins, login)
	b.book.Images[ref] = logins[max(0, len(logins)-maxLogins):]
	return writeJSON(b.path, b.book)
}

// private reports whether an image came for credentials.
func (b *pulledBook) private(ref string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load()
	_, private := b.book.Images[ref]
	return private
}

// allows reports whether one of the credentials is among those that the image came for.
func (b *pulledBook) allows(ref string, auths []*runtimev1.AuthConfig) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load()
	logins, private := b.book.Images[ref]
	return !private || slices.ContainsFunc(auths, func(a *runtimev1.AuthConfig) bool { return slices.Contains(logins, b.login(a)) })
}
