package inventory_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

// host is an engine whose data lies behind a symbolic link in a path with a space, and a client of it.
type host struct {
	*testhost.Engine
	client *docker.Client
	real   string // DataRoot without the link
}

func start(t *testing.T) host {
	t.Helper()
	base := t.TempDir()
	real, link := filepath.Join(base, "the data"), filepath.Join(base, "link")
	if err := errors.Join(os.Mkdir(real, 0o755), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	e := testhost.StartEngine(t, link)
	c, err := docker.New(e.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return host{Engine: e, client: c, real: real}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (h host) volume(t *testing.T, name string, flags ...string) string {
	t.Helper()
	h.Docker(t, append(append([]string{"volume", "create"}, flags...), name)...)
	return filepath.Join(h.real, "volumes", name, "_data")
}

// compose runs a container as Compose labels it.
func (h host) compose(t *testing.T, name, project, service, number string, flags ...string) string {
	t.Helper()
	return h.Run(t, name, testhost.RunOptions{Flags: append(flags,
		"--label", "com.docker.compose.project="+project, "--label", "com.docker.compose.service="+service,
		"--label", "com.docker.compose.container-number="+number)})
}

func dir(t *testing.T, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// bind shows a directory at another place until the test ends.
func bind(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("mount", "--bind", from, to).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", to).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}
