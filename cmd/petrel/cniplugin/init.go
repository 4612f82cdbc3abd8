package cniplugin

import (
	"os"

	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

func init() {
	if code, is := plugin.Main(os.Args); is {
		os.Exit(code)
	}
}
