package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/petrelrun/petrel/lab/machine"
)

// MaxNodes bounds a lab: each node is several processes of this one machine.
const MaxNodes = 64

// Config says what lab there is to be.
type Config struct {
	// Dir is where all state and logs are; made when missing.
	Dir string
	// Nodes is how many there are, and Links how many networks they are spread over.
	Nodes, Links int
	// Program is the program whose main calls Init; empty: this one.
	Program string
	// Progress is told, in a line without its end, what has happened; nil: nobody. It may be called from any goroutine.
	Progress func(line string)
}

// Init must be the first thing that main, or TestMain, of the Program does.
func Init() { machine.Init() }

// ErrUnsupported says that this host, or this user, cannot have a lab.
var ErrUnsupported = machine.ErrUnsupported

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("lab directory %q: want an absolute path", c.Dir)
	case c.Nodes < 1 || c.Nodes > MaxNodes:
		return fmt.Errorf("%d nodes: want 1 to %d", c.Nodes, MaxNodes)
	case c.Links < 1 || c.Links > machine.MaxLinks:
		return fmt.Errorf("%d links: want 1 to %d", c.Links, machine.MaxLinks)
	case c.Links > c.Nodes:
		return errors.New("more links than nodes: a link without a node is of no use")
	}
	return nil
}

// group is the path of the lab's control groups: one a directory, so that a lab finds what the last one there left.
func (c *Config) group() string {
	sum := sha256.Sum256([]byte(filepath.Clean(c.Dir)))
	const enough = 5
	return fmt.Sprintf("%s%x", groupPrefix, sum[:enough])
}

// groupPrefix begins the names of labs' control groups.
const groupPrefix = "petrel-lab-"

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }
