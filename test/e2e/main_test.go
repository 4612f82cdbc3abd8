package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/test/toolchain"
)

// parallelTests is how many tests run beside one another: more than there are cores, since they mostly wait.
const parallelTests = "6"

// suite is what all tests share.
var suite struct {
	tree           *toolchain.Tree
	dir            string // everything that the tests write
	kubectl, crane string

	start  sync.Once
	shared *cluster.Cluster
	err    error
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if !flagGiven("test.parallel") {
		_ = flag.Set("test.parallel", parallelTests)
	}
	ctx := context.Background()
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: prepare:", err)
		return 1
	}
	code := m.Run()
	if err := cleanUp(ctx, code == 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: clean up:", err)
		return 1
	}
	return code
}

func flagGiven(name string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// prepare builds everything the tests drive.
func prepare(ctx context.Context) error {
	tree, err := toolchain.Find()
	if err != nil {
		return err
	}
	suite.tree = tree
	began := time.Now()
	if _, err := tree.Binaries(ctx); err != nil {
		return err
	}
	if suite.kubectl, err = tree.Kubectl(ctx); err != nil {
		return err
	}
	if suite.crane, err = tree.Crane(ctx); err != nil {
		return err
	}
	for name, reactor := range guests {
		if _, err := tree.Guest(ctx, name, reactor); err != nil {
			return err
		}
	}
	if suite.dir, err = os.MkdirTemp("", "petrel-e2e-"); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	fmt.Printf("e2e: built in %s, state in %s\n", time.Since(began).Round(time.Millisecond), suite.dir)
	return nil
}

func cleanUp(ctx context.Context, passed bool) error {
	var errs []error
	if suite.shared != nil {
		errs = append(errs, suite.shared.Stop(ctx))
	}
	if !passed || errors.Join(errs...) != nil {
		fmt.Println("e2e: state and logs are kept in", suite.dir)
		return errors.Join(errs...)
	}
	return os.RemoveAll(suite.dir)
}

// startCluster starts a cluster in a folder of its own and, for a test's own cluster, ends it with the test.
func startCluster(ctx context.Context, name string, args ...string) (*cluster.Cluster, error) {
	dir := filepath.Join(suite.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cluster folder: %w", err)
	}
	return cluster.Start(ctx, cluster.Options{Dir: dir, Binaries: suite.tree.Bin(), Args: args})
}

// sharedCluster answers the cluster of most tests.
func sharedCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	suite.start.Do(func() { suite.shared, suite.err = startCluster(context.Background(), "shared") })
	if suite.err != nil {
		t.Fatalf("start the shared cluster: %v", suite.err)
	}
	return suite.shared
}

// ownCluster answers a cluster that this test alone uses.
func ownCluster(t *testing.T, args ...string) *cluster.Cluster {
	t.Helper()
	c, err := startCluster(t.Context(), folderName(t), args...)
	if err != nil {
		t.Fatalf("start a cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
	})
	return c
}
