package testhost

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os/user"
	"testing"
)

// ImageName is the image that Image makes.
const ImageName = "volsnap-test"

// Image makes the image for containers that use this host's own programs, once an engine, and returns its name. It is
// empty but for directories and the links of a merged /usr: run it with "-v /usr:/usr:ro".
func (e *Engine) Image() (string, error) {
	if e.image {
		return ImageName, nil
	}
	layer, err := imageLayer()
	if err != nil {
		return "", fmt.Errorf("make image %s: %w", ImageName, err)
	}
	if _, err := e.cli(layer, "import", "-", ImageName); err != nil {
		return "", fmt.Errorf("make image %s: %w", ImageName, err)
	}
	e.image = true
	return ImageName, nil
}

// imageLayer is a tar archive of the image's only layer.
func imageLayer() (io.Reader, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"usr", "etc", "proc", "sys", "dev", "run", "var", "root"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return nil, err
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: link, Linkname: "usr/" + link, Mode: 0o777}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	accounts := accounts()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: int64(len(accounts))}
	if err := w.WriteHeader(h); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, accounts); err != nil {
		return nil, err
	}
	return &buf, w.Close()
}

// accounts is /etc/passwd for the image: root, and PostgreSQL's user with the number that it has on this host.
func accounts() string {
	uid, gid := "999", "999"
	if u, err := user.Lookup("postgres"); err == nil {
		uid, gid = u.Uid, u.Gid
	}
	return "root:x:0:0:root:/root:/bin/sh\npostgres:x:" + uid + ":" + gid + "::/tmp:/bin/sh\n"
}

// RunOptions say how Run runs a container.
type RunOptions struct {
	Flags   []string // further ones of "docker run", such as "-v", "vol:/data"
	Command []string // sleeps for ever when empty
	Image   string   // ImageName when empty
}

// StartContainer is Run outside a test.
func (e *Engine) StartContainer(name string, opts RunOptions) (id string, err error) {
	image := opts.Image
	if image == "" {
		if image, err = e.Image(); err != nil {
			return "", err
		}
	}
	command := opts.Command
	if len(command) == 0 {
		command = []string{"/usr/bin/busybox", "sleep", "2147483647"}
	}
	// The stop signal: a first process without a handler ignores TERM, and each stop would take ten seconds.
	args := []string{"run", "-d", "--name", name, "-v", "/usr:/usr:ro", "--network", "none", "--stop-signal", "KILL"}
	args = append(append(append(args, opts.Flags...), image), command...)
	return e.CLI(args...)
}

// Run starts a container with this host's programs and no network, and returns its full id. Flags of the caller come
// after Run's own and win over them.
func (e *Engine) Run(t testing.TB, name string, opts RunOptions) (id string) {
	t.Helper()
	id, err := e.StartContainer(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
