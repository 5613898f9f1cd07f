//go:build vmtest

package zfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

func TestPoolExportedMeanwhile(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	g, err := d.Prepare(t.Context(), requestOf(t, 2, ds))
	if err != nil {
		t.Fatal(err)
	}
	do(t, "zpool", "export", pool)
	if _, err := driver.Take(t.Context(), g); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Take: %v, want ErrNotFound", err)
	}
	if got, err := d.Snapshots(t.Context(), ds); err != nil || len(got) != 0 {
		t.Errorf("Snapshots: %v, %v", got, err)
	}
	_, prepareErr := d.Prepare(t.Context(), requestOf(t, 3, ds))
	_, spaceErr := d.Space(t.Context(), ds)
	for what, err := range map[string]error{
		"Destroy": d.Destroy(t.Context(), s), "Unseal": d.Unseal(t.Context(), s), "Seal": d.Seal(t.Context(), "atomic", s),
		"Prepare": prepareErr, "Space": spaceErr,
	} {
		if err == nil { // it is not gone, but elsewhere
			t.Errorf("%s: no error", what)
		}
	}
	do(t, "zpool", "import", "-d", filepath.Dir(top), pool)
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != s.GUID || !got[0].Sealed {
		t.Errorf("after the import: %+v", got)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPoolReadOnly(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	write(t, top+"/a", "f", "1")
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	do(t, "zpool", "export", pool)
	do(t, "zpool", "import", "-d", filepath.Dir(top), "-o", "readonly=on", pool)
	if got := listed(t, d, ds); len(got) != 1 || !got[0].Sealed {
		t.Errorf("%+v", got)
	}
	if _, err := d.Prepare(t.Context(), requestOf(t, 2, ds)); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("Prepare: %v", err)
	}
	place, err := d.Resolve(t.Context(), top+"/a")
	if err != nil || len(place.Findings) == 0 || place.Findings[0].Level != driver.Error || !strings.Contains(place.Findings[0].What, "read-only") {
		t.Errorf("Resolve: %+v, %v", place, err)
	}
	for what, err := range map[string]error{"Destroy": d.Destroy(t.Context(), s), "Unseal": d.Unseal(t.Context(), s), "Pin": d.Pin(t.Context(), s, "x")} {
		if err == nil || !strings.Contains(err.Error(), "read-only") && !strings.Contains(err.Error(), "read only") && !strings.Contains(err.Error(), "Read-only") {
			t.Errorf("%s: %v", what, err)
		}
	}
	dir := t.TempDir()
	unmount, err := d.Mount(t.Context(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(dir + "/f"); string(text) != "1" {
		t.Error(string(text), err)
	}
	if err := unmount(t.Context()); err != nil {
		t.Error(err)
	}
}

// fill writes until the pool has nothing to give.
func fill(t testing.TB, top string) {
	t.Helper()
	for size := 4 << 20; size >= 4096; size /= 16 {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i * i >> 3)
		}
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(top, fmt.Sprint(size, "-", i)), content, 0o600)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		do(t, "sync", "-f", top)
	}
}

// TestFullPool: what cannot be done says so and changes nothing, and destroying still works.
func TestFullPool(t *testing.T) {
	pool, top := newPool(t, 96<<20)
	ds, d := create(t, pool+"/a", "-o", "compression=off"), zfs.New()
	var made []driver.Snapshot
	for n := range 3 {
		made = append(made, takeAndSeal(t, d, requestOf(t, n, ds))...)
	}
	late := take(t, d, requestOf(t, 3, ds))
	free, err := strconv.Atoi(property(t, ds.Name, "available"))
	if err != nil {
		t.Fatal(err)
	}
	create(t, pool+"/others", "-o", "reservation="+strconv.Itoa(free-8<<20)) // to write it all takes minutes here
	fill(t, filepath.Join(top, "a"))
	g, err := d.Prepare(t.Context(), requestOf(t, 4, ds))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := driver.Take(t.Context(), g); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("Take: %v, want ErrNoSpace", err)
	}
	for what, err := range map[string]error{"Seal": d.Seal(t.Context(), "atomic", late...), "Pin": d.Pin(t.Context(), made[0], "x")} {
		t.Logf("%s: %v", what, err)
		if err != nil && !errors.Is(err, driver.ErrNoSpace) {
			t.Errorf("%s: %v", what, err)
		}
	}
	space, err := d.Space(t.Context(), ds)
	if err != nil || space.FreeBytes > 1<<20 || space.TotalBytes < 4<<20 {
		t.Errorf("Space: %+v, %v", space, err)
	}
	if err := d.Unseal(t.Context(), made[1:]...); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, d, ds); got[1].Sealed || got[2].Sealed {
		t.Errorf("after Unseal: %+v", got)
	}
	if err := d.Destroy(t.Context(), made[1:]...); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, d, ds); len(got) != 2 {
		t.Errorf("after Destroy: %+v", got)
	}
}

func TestQuotaIsCounted(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds := create(t, pool+"/a", "-o", "quota=20M")
	space, err := zfs.New().Space(t.Context(), ds)
	if err != nil || space.TotalBytes != 20<<20 || space.FreeBytes > space.TotalBytes {
		t.Errorf("%+v, %v", space, err)
	}
}

// TestSuspendedPoolIsLeftAlone takes a pool's only device away.
func TestSuspendedPoolIsLeftAlone(t *testing.T) {
	healthy, _ := newPool(t, 256<<20)
	other := takeAndSeal(t, zfs.New(), requestOf(t, 9, create(t, healthy+"/b")))[0]
	dir := t.TempDir()
	file, top, name := filepath.Join(dir, "disk"), filepath.Join(dir, "top"), fmt.Sprintf("vtsus%d", os.Getpid())
	write(t, dir, "disk", "")
	if err := os.Truncate(file, 256<<20); err != nil {
		t.Fatal(err)
	}
	loop := strings.TrimSpace(do(t, "losetup", "--find", "--show", file))
	cleanUp(t, "losetup", "-d", loop)
	table := func(target string) string { return fmt.Sprintf("0 %d %s", 256<<20/512, target) }
	do(t, "dmsetup", "create", name, "--table", table("linear "+loop+" 0"))
	cleanUp(t, "dmsetup", "remove", "--retry", name)
	do(t, "zpool", "create", "-o", "failmode=wait", "-O", "mountpoint="+top, name, "/dev/mapper/"+name)
	t.Cleanup(func() { destroyPool(t, name) }) // who hung in there may need a moment to end
	ds, d := create(t, name+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	g, err := d.Prepare(t.Context(), requestOf(t, 2, ds))
	if err != nil {
		t.Fatal(err)
	}

	reload(t, name, table("error"))
	t.Cleanup(func() { // before the others: nothing else ends while it hangs
		reload(t, name, table("linear "+loop+" 0"))
		do(t, "zpool", "clear", name)
	})
	_ = exec.Command("timeout", "-s", "KILL", "5", "dd", "if=/dev/urandom", "of="+top+"/a/x", "bs=128k", "count=32", "oflag=sync").Run()
	awaitState(t, name, "SUSPENDED")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	begun := time.Now()
	if _, err := driver.Take(ctx, g); err == nil { // the command says so at once, or hangs until the context ends
		t.Error("Take: no error")
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("Take took %s", took)
	}
	_, listErr := d.Snapshots(t.Context(), ds)
	_, prepareErr := d.Prepare(t.Context(), requestOf(t, 3, ds))
	_, spaceErr := d.Space(t.Context(), ds)
	for what, err := range map[string]error{
		"Snapshots": listErr, "Prepare": prepareErr, "Space": spaceErr, "Destroy": d.Destroy(t.Context(), s), "Pin": d.Pin(t.Context(), s, "x"),
	} {
		if err == nil || !strings.Contains(err.Error(), "suspended") {
			t.Errorf("%s: %v", what, err)
		}
	}
	all, err := d.Snapshots(t.Context())
	if err == nil || !slices.Contains(namesOf(all), other.Name) {
		t.Errorf("of all pools are listed %q, %v; want what is in %s, and an error", namesOf(all), err, healthy)
	}
	place, err := d.Resolve(t.Context(), top+"/a")
	if err != nil || place.Dataset != ds || len(place.Findings) != 1 || !strings.Contains(place.Findings[0].What, "suspended") {
		t.Errorf("Resolve: %+v, %v", place, err)
	}
}

func cleanUp(t *testing.T, argv ...string) {
	t.Cleanup(func() {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", argv, err, out)
		}
	})
}

// reload changes what a device of the device mapper does.
func reload(t *testing.T, name, table string) {
	t.Helper()
	do(t, "dmsetup", "suspend", "--noflush", "--nolockfs", name)
	do(t, "dmsetup", "load", name, "--table", table)
	do(t, "dmsetup", "resume", name)
}

// awaitState waits for the state that the kernel shows of a pool.
func awaitState(t *testing.T, pool, state string) {
	t.Helper()
	for range 300 {
		text, _ := os.ReadFile("/proc/spl/kstat/zfs/" + pool + "/state")
		if strings.TrimSpace(string(text)) == state {
			return
		}
		do(t, "sleep", "0.1")
	}
	t.Fatalf("%s is not %s", pool, state)
}
