package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/volsnap/volsnap/internal/testhost"
)

// TestMain makes this test binary the program too: as "volsnap" for scripts, and as "exe", which is what the program calls
// itself when it starts its dead-man by /proc/self/exe.
//
// It runs in a mount namespace of its own, without what other tests have mounted: a listing is of all of a host's file systems.
func TestMain(m *testing.M) {
	if err := alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(withEngine{m}, map[string]func(){"volsnap": main, "exe": main})
}

const aloneEnv = "VOLSNAP_TEST_ALONE"

// alone starts this process again in a new mount namespace, and there unmounts every Btrfs on a loop device.
func alone() error {
	unshare, err := exec.LookPath("unshare")
	if base := filepath.Base(os.Args[0]); err != nil || os.Geteuid() != 0 || base == "volsnap" || base == "exe" {
		return nil
	}
	if os.Getenv(aloneEnv) == "" {
		argv := append([]string{unshare, "--mount", "--propagation", "private", os.Args[0]}, os.Args[1:]...)
		return syscall.Exec(unshare, argv, append(os.Environ(), aloneEnv+"=yes"))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 2 && f[2] == "btrfs" && strings.HasPrefix(f[0], "/dev/loop") {
			_ = syscall.Unmount(unescape(f[1]), syscall.MNT_DETACH) // below one that has just gone
		}
	}
	return nil
}

// unescape turns the octal escapes of a mount table into what they stand for.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// withEngine ends the Docker engine after the last test.
type withEngine struct{ *testing.M }

func (m withEngine) Run() int {
	status := m.M.Run()
	if shared.engine != nil {
		if err := shared.engine.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return status
}

// shared is the one Docker engine of this package's tests, started when the first of them wants it.
var shared struct {
	once   sync.Once
	engine *testhost.Engine
	err    error
}

func dockerEngine() (*testhost.Engine, error) {
	shared.once.Do(func() { shared.engine, shared.err = testhost.NewEngine("") })
	return shared.engine, shared.err
}

var apps atomic.Int64

// newApp is the name of an app that no other test on this host uses: a listing is of every file system that is mounted.
func newApp() string { return fmt.Sprintf("t%d-%d", os.Getpid(), apps.Add(1)) }

// result is what one invocation left.
type result struct {
	status         int
	stdout, stderr string
}

// invoke runs the program in this process. DOCKER_HOST is that of the environment.
func invoke(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr}
	status := p.main(context.Background(), append([]string{"volsnap"}, args...))
	return result{status, stdout.String(), stderr.String()}
}

// btrfsOrSkip mounts a file system for the whole of a test, and makes subvolumes in it.
func btrfsOrSkip(t *testing.T, subvolumes ...string) string {
	t.Helper()
	mnt := testhost.Btrfs(t, imageSize)
	for _, name := range subvolumes {
		if err := runTool("btrfs", "-q", "subvolume", "create", filepath.Join(mnt, name)); err != nil {
			t.Fatal(err)
		}
	}
	return mnt
}

const imageSize = 512 << 20 // sparse

func requireParts(t *testing.T) {
	t.Helper()
	mnt, unmount, err := testhost.NewBtrfs(imageSize)
	testhost.Require(t, testhost.PartBtrfs, err)
	if err := unmount(); err != nil {
		t.Fatalf("%s: %v", mnt, err)
	}
	_, err = dockerEngine()
	testhost.Require(t, testhost.PartDocker, err)
}

var errNotEqual = errors.New("not equal")
