//go:build powercut

package killtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/testhost"
)

// These tests are parts of scripts/vm-tests/powercut, which cuts the power of the machine in between.

const (
	keepDir    = "/keep"           // a file system that outlives the cut, with all that outlives one on a real host
	poolDevice = "/dev/vdb"        // of the pool under test, which outlives it too
	bootRun    = "/run/volsnap"    // run_dir: it does not
	memoryFile = keepDir + "/what" // memory
)

// memory is what has to be as it was after a cut.
type memory struct {
	Foreign        map[string]thing
	Pinned, Newest string
	Loose          int
}

// TestPowerCutLife is a life of the machine between two cuts. It proves that the one before did no harm, says "armed", and
// runs volsnap once more. The power fails before it ends.
func TestPowerCutLife(t *testing.T) {
	a, took := revive(t)
	a.remember(t)
	fmt.Printf("LIFE armed %.1f\n", took.Seconds())
	p := a.begin(t, "", "run", a.name)
	for said := 1; !p.over(); time.Sleep(sample) {
		for names := p.passed(t); said < len(names); said++ {
			fmt.Println("LIFE point", names[said])
		}
	}
	fmt.Println("LIFE point the run has ended with status", p.status(t))
	a.remember(t)
	time.Sleep(time.Hour)
	t.Error("the power did not fail")
}

// TestPowerCutEnd proves that the last cut did no harm, and reads all that the pool holds.
func TestPowerCutEnd(t *testing.T) {
	a, _ := revive(t)
	switch on := a.storage.(type) {
	case zfsPool:
		command(t, "zpool", "scrub", "-w", on.Pool)
		t.Log(command(t, "zpool", "status", "-v", on.Pool))
		if health := command(t, "zpool", "get", "-Hp", "-o", "value", "health", on.Pool); health != "ONLINE\n" {
			t.Errorf("the pool is %s", health)
		}
	case btrfsTop:
		t.Log(command(t, "btrfs", "scrub", "start", "-B", on.Top)) // fails when it finds something
	case lvmGroup:
		t.Log(command(t, "vgck", on.group))
	}
}

// revive is the app as it is after a cut, proved, and how long a run takes. In the machine's first life the app is made.
func revive(t *testing.T) (a *app, took time.Duration) {
	t.Helper()
	kind, err := testhost.Storage()
	if err != nil {
		t.Fatal(err)
	}
	pool := &testhost.Pool{Kind: kind, Name: "cut", Size: 4 << 30, Dir: keepDir, Top: filepath.Join(keepDir, "mnt")}
	a = &app{
		name: "cut", dir: filepath.Join(keepDir, "app"), run: bootRun,
		config: filepath.Join(keepDir, "app", "volsnap.yaml"), state: filepath.Join(keepDir, "app", "state"),
	}
	bin := filepath.Join(keepDir, "bin")
	m, err := recall()
	if errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(buildIn(bin), os.Mkdir(a.dir, 0o700), os.Mkdir(pool.Top, 0o755)); err != nil {
			t.Fatal(err)
		}
		format(t, pool)
		a.host = hostOn(t, pool, bin)
		a.build(t)
		a.history(t)
		begin := time.Now()
		a.settle(t)
		return a, time.Since(begin)
	}
	if err != nil {
		t.Fatal(err)
	}
	attach(t, pool, a)
	a.host, a.foreign = hostOn(t, pool, bin), m.Foreign
	a.Docker(t, "start", a.of("one"), a.of("two"), a.of("reader"), a.of("resting"))
	a.Docker(t, "pause", a.of("resting")) // a pause does not outlive a boot
	before := kept{m.Pinned, m.Newest, m.Loose}
	sets := a.list(t)
	fmt.Printf("LIFE found %d sets, %d of them complete\n", len(sets), len(complete(sets)))
	checkKept(t, before, sets)
	before = keptOf(sets) // of these nothing must get lost, be one of them that of the run that was cut
	begin := time.Now()
	a.settle(t)
	took = time.Since(begin)
	a.checkSettled(t, before)
	if t.Failed() {
		t.FailNow()
	}
	return a, took
}

// format makes the pool on the whole device.
func format(t *testing.T, p *testhost.Pool) {
	t.Helper()
	switch p.Kind {
	case testhost.PartZFS:
		command(t, "zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", p.Name, poolDevice)
	case testhost.PartLVM:
		command(t, "vgcreate", "--quiet", "--yes", p.Name, poolDevice)
		command(t, "lvcreate", "--quiet", "--yes", "--type", "thin-pool", "--extents", "80%FREE", "--name", filepath.Base(p.ThinPool()), p.Name)
	default:
		command(t, "mkfs.btrfs", "-q", poolDevice)
		command(t, "mount", poolDevice, p.Top)
	}
}

// attach does what a host does at its start.
func attach(t *testing.T, p *testhost.Pool, a *app) {
	t.Helper()
	switch p.Kind {
	case testhost.PartZFS:
		command(t, "zpool", "import", "-d", "/dev", "-o", "cachefile=none", p.Name)
	case testhost.PartLVM:
		command(t, "vgchange", "--quiet", "--activate", "y", p.Name)
		for _, v := range []string{"a", "b", "c"} {
			at := filepath.Join(p.DockerRoot(), "volumes", a.of(v))
			command(t, "mount", "/dev/"+p.Name+"/"+a.of(v), at)
		}
	default:
		command(t, "mount", poolDevice, p.Top)
	}
}

func recall() (m memory, err error) {
	text, err := os.ReadFile(memoryFile)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// remember puts on the disk what the next life has to find.
func (a *app) remember(t *testing.T) {
	t.Helper()
	k := keptOf(a.list(t))
	text, err := json.Marshal(memory{a.foreign, k.pinned, k.newest, k.loose})
	if err != nil {
		t.Fatal(err)
	}
	next := memoryFile + ".next"
	if err := errors.Join(os.WriteFile(next, text, 0o600), flush(next), os.Rename(next, memoryFile), flush(keepDir)); err != nil {
		t.Fatal(err)
	}
}

// flush returns when a file or a directory is on the disk.
func flush(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return errors.Join(unix.Fsync(fd), unix.Close(fd))
}
