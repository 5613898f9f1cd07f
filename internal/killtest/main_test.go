package killtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built makes the programs in builtDir, once.
var built = sync.OnceValue(build)

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

func build() error {
	dir := builtDir()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-tags", "faultpoints", "-o", filepath.Join(dir, "volsnap"), "github.com/volsnap/volsnap/cmd/volsnap"},
		{"-o", filepath.Join(dir, "load"), "github.com/volsnap/volsnap/internal/fixture/load"},
	} {
		cmd := exec.Command("go", append([]string{"build"}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w: %s", args, err, out)
		}
	}
	return os.WriteFile(filepath.Join(dir, "on"), nil, 0o644)
}
