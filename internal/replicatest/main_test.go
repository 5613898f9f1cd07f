package replicatest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

// built makes the program in builtDir, once.
var built = sync.OnceValue(func() error {
	return testhost.Build(context.Background(), filepath.Join(builtDir(), "volsnap"), testhost.ProgramVolsnap, testhost.TagFault)
})

// parallel is how many pairs there are side by side, whatever the number of processors: most of their time they wait.
const parallel = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	err := flag.Set("test.parallel", parallel)
	if err == nil {
		err = os.Mkdir(builtDir(), 0o755)
	}
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

// builtDir holds the program "volsnap", with fault points.
func builtDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("volsnap-replicatest-%d", os.Getpid()))
}

// eventually asks until there is no error, and fails the test after the limit.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	if err := poll(limit(), ask); err != nil {
		t.Fatalf("after %s: %v", limit(), err)
	}
}

func poll(limit time.Duration, ask func() error) error {
	end := time.After(limit)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-end:
			return err
		case <-again.C:
		}
	}
}

// limit is generous: what is waited for takes a second.
func limit() time.Duration { return 120 * time.Second * testhost.Slow() }
