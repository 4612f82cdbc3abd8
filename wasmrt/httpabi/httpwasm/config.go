package httpwasm

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// DefaultMaxBuffer is how much of a request's or a response's body the host keeps when the guest asks for it, in bytes.
// It is memory of the host, so it stands far below what bodies may stream.
const DefaultMaxBuffer = 16 << 20

// ConfigVariable is the environment variable whose value is the guest's configuration (get_config).
const ConfigVariable = "HTTP_WASM_CONFIG"

// Config says what a Server serves.
type Config struct {
	Template  *engine.Template // must outlive the Server
	Spec      engine.Spec
	Isolation engine.Isolation

	Next      http.Handler // what the guest may pass on to; nil: nothing
	NotFound  http.Handler // answers when there is no Next and the guest has not answered; nil: http.NotFoundHandler()
	MaxBuffer int64        // zero: DefaultMaxBuffer
}

// Validate checks the configuration.
func (c Config) Validate() error {
	if c.Template == nil {
		return errors.New("check http-wasm config: no template")
	}
	if _, ok := c.Template.Info().Export(module.HandleRequestExport, module.KindFunction); !ok {
		return fmt.Errorf("check http-wasm config: the module does not export %s", module.HandleRequestExport)
	}
	if c.MaxBuffer < 0 {
		return errors.New("check http-wasm config: the buffer's limit is negative")
	}
	return c.Spec.Validate()
}

func (c Config) withDefaults() Config {
	if c.MaxBuffer == 0 {
		c.MaxBuffer = DefaultMaxBuffer
	}
	if c.NotFound == nil {
		c.NotFound = http.NotFoundHandler()
	}
	return c
}

// guestConfig is the value of ConfigVariable; of two the later counts.
func (c Config) guestConfig() string {
	value := ""
	for _, e := range c.Spec.Env {
		if v, ok := strings.CutPrefix(e, ConfigVariable+"="); ok {
			value = v
		}
	}
	return value
}
