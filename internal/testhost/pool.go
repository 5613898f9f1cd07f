package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// poolDir starts the names of the directories that hold a pool; its kind, the process id and a number follow.
const poolDir = "volsnap-test-"

// Pool is a fresh storage of a test's own, in sparse files.
type Pool struct {
	Kind string // PartBtrfs, PartZFS or PartLVM
	Name string // of the zpool, or of the volume group; the Btrfs has none
	Size int64  // of the sparse file, in bytes
	// Dir is a directory of the pool's own on the host's disk. Its path is short enough for sockets in it. What is put into
	// it goes with the pool, also when that is swept up after a kill.
	Dir string
	// Top is a directory in Dir below which datasets are seen. The Btrfs is mounted there; with the others it lies on the
	// host's disk, and each dataset is mounted somewhere below it.
	Top string
}

// DockerRoot is where the data of a Docker engine goes, for its volumes to be datasets at DockerRoot/volumes/NAME. On
// Btrfs all of it lies in the pool. With the others images and containers lie on the host's disk, as on most real hosts.
func (p *Pool) DockerRoot() string { return filepath.Join(p.Top, "docker") }

// ThinPool is where NewPool makes LVM's only thin pool, as "vg/lv".
func (p *Pool) ThinPool() string { return p.Name + "/" + thinPool }

// kind is what a storage is made with and of.
type kind struct {
	have   func() error
	create func(p *Pool, image string) error
	remove func(p *Pool) error // what is left when nothing is mounted any more; that there is nothing is no error
}

func kindOf(name string) (kind, error) {
	switch name {
	case PartBtrfs:
		return kind{haveBtrfs, createBtrfs, func(*Pool) error { return nil }}, nil
	case PartZFS:
		return kind{haveZFS, createZFS, removeZFS}, nil
	case PartLVM:
		return kind{haveLVM, createLVM, removeLVM}, nil
	}
	return kind{}, fmt.Errorf("there is no storage %q: want %s, %s or %s", name, PartBtrfs, PartZFS, PartLVM)
}

// Have tells why pools of that kind cannot be made on this host, if so.
func Have(name string) error {
	k, err := kindOf(name)
	if err != nil {
		return err
	}
	return k.have()
}

// StartPool makes a pool of size bytes (at least 128 MiB) of that kind for one test, and removes it with the test, with
// whatever the test mounted below Top.
func StartPool(t testing.TB, name string, size int64) *Pool {
	t.Helper()
	Require(t, name, Have(name))
	p, remove, err := NewPool(name, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// NewPool is StartPool outside a test. The caller must call remove.
func NewPool(name string, size int64) (p *Pool, remove func() error, err error) {
	p, err = makePool(name, size)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pool of %s: %w", name, err)
	}
	return p, p.remove, nil
}

func makePool(name string, size int64) (*Pool, error) {
	k, err := kindOf(name)
	if err == nil {
		err = k.have()
	}
	if err != nil {
		return nil, err
	}
	sweepPools()
	dir, err := os.MkdirTemp(diskDir(), poolDir+name+"-"+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	p := poolIn(name, dir)
	p.Size = size
	image := filepath.Join(dir, "image")
	err = errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(p.Top, 0o755))
	if err == nil {
		err = k.create(p, image)
	}
	if err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

// poolIn is the pool of a directory. Names of volume groups must not be long, since device names are made of them.
func poolIn(kind, dir string) *Pool {
	p := &Pool{Kind: kind, Dir: dir, Top: filepath.Join(dir, "mnt")}
	if kind != PartBtrfs {
		p.Name = "vst_" + strings.ReplaceAll(strings.TrimPrefix(filepath.Base(dir), poolDir+kind+"-"), "-", "_")
	}
	return p
}

// remove takes the pool down. Nothing of its directory is removed while something is mounted below it.
func (p *Pool) remove() error {
	k, err := kindOf(p.Kind)
	if err != nil {
		return err
	}
	if err := errors.Join(unmountBelow(p.Dir), k.remove(p)); err != nil {
		return fmt.Errorf("remove the pool in %s: %w", p.Dir, err)
	}
	return os.RemoveAll(p.Dir)
}

// sweepPools removes what processes that are no more left behind. What it cannot remove is left to the next one; another
// process may be sweeping the same.
func sweepPools() {
	left, _ := filepath.Glob(filepath.Join(diskDir(), poolDir+"*"))
	for _, dir := range left {
		name, rest, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), poolDir), "-")
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = poolIn(name, dir).remove()
		}
	}
}

// diskDir is a temporary directory that does not live in memory, if the host has one.
func diskDir() string {
	dir := os.TempDir()
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC && unix.Access("/var/tmp", unix.W_OK) == nil {
		dir = "/var/tmp"
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// havePrograms is that root is at work and finds the programs.
func havePrograms(names ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("making file systems needs root")
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	return nil
}

func run(argv ...string) error {
	_, err := output(argv...)
	return err
}

func output(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}
