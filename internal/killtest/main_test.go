package killtest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/volsnap/volsnap/internal/testhost"
)

// built makes the programs in builtDir, once.
var built = sync.OnceValue(func() error { return buildIn(builtDir()) })

// parallel is how many tests run side by side, whatever the number of processors: most of their time they wait for a
// dead-man, who watches for late pauses for some seconds.
const parallel = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	err := flag.Set("test.parallel", parallel)
	status := 1
	if err == nil {
		status = m.Run()
		err = os.RemoveAll(builtDir())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// builtDir holds the programs "volsnap", with fault points, and "load", and the switch "on" of the latter.
func builtDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("volsnap-killtest-%d", os.Getpid()))
}

func buildIn(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	ctx := context.Background()
	err := testhost.Build(ctx, filepath.Join(dir, "volsnap"), testhost.ProgramVolsnap, testhost.TagFault)
	if err == nil {
		err = testhost.Build(ctx, filepath.Join(dir, "load"), testhost.ProgramLoad)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "on"), nil, 0o644)
}
