package btrfs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

func requestOf(t testing.TB, sec int, ds ...driver.Dataset) driver.Request {
	t.Helper()
	set, err := driver.NewSetID("ccn", time.Date(2026, 11, 21, 2, 0, sec, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	req := driver.Request{Set: set, Of: len(ds)}
	for i, one := range ds {
		req.Items = append(req.Items, driver.Item{
			Dataset: one, Member: i + 1, Volumes: []driver.Volume{{Name: "v", Path: "."}},
		})
	}
	return req
}

func dataset(t testing.TB, parts ...string) driver.Dataset {
	t.Helper()
	return driver.Dataset{Kind: btrfs.Kind, Name: subvolume(t, filepath.Join(parts...))}
}

func list(t testing.TB, d driver.Driver, ds driver.Dataset) []driver.Snapshot {
	t.Helper()
	got, err := d.Snapshots(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func isSubvolume(at string) bool {
	is, err := dennwc.IsSubVolume(at)
	return is && err == nil
}

// TestDamagedRecordsDestroyNothing damages the record of the second of three snapshots in every way.
func TestDamagedRecordsDestroyNothing(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d := btrfs.New()
	n := 0
	for _, tc := range []struct {
		name   string
		damage func(record, next string) error
	}{
		{"truncated", func(r, _ string) error { return os.Truncate(r, 100) }},
		{"empty", func(r, _ string) error { return os.Truncate(r, 0) }},
		{"huge", func(r, _ string) error { return os.Truncate(r, 1<<40) }},
		{"of a wrong type", func(r, _ string) error { return os.WriteFile(r, []byte(`{"version":"1"}`), 0o600) }},
		{"a list", func(r, _ string) error { return os.WriteFile(r, []byte(`[]`), 0o600) }},
		{"another set's", func(r, next string) error {
			text, err := os.ReadFile(next)
			return errors.Join(err, os.WriteFile(r, text, 0o600))
		}},
		{"a link to another set's", func(r, next string) error { return errors.Join(os.Remove(r), os.Symlink(next, r)) }},
		{"a directory", func(r, _ string) error { return errors.Join(os.Remove(r), os.Mkdir(r, 0o700)) }},
		{"of a newer volsnap", func(r, _ string) error {
			text, err := os.ReadFile(r)
			newer := strings.Replace(string(text), `"version": 1`, `"version": 3, "more": {}`, 1)
			return errors.Join(err, os.WriteFile(r, []byte(newer), 0o600))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n++
			ds := dataset(t, top, fmt.Sprint("d", n))
			var made []driver.Snapshot
			for i := range 3 {
				made = append(made, takeAndSeal(t, d, requestOf(t, i, ds))...)
			}
			bad := made[1]
			if err := tc.damage(bad.Name+".sealed.json", made[2].Name+".sealed.json"); err != nil {
				t.Fatal(err)
			}
			got := list(t, d, ds)
			if len(got) != 3 || got[1].Fault == "" || !got[1].Sealed || got[1].Dataset != ds || got[0].Fault+got[2].Fault != "" {
				t.Fatalf("listed %+v", got)
			}
			for _, asked := range []driver.Snapshot{bad, got[1]} {
				for what, err := range map[string]error{
					"Destroy": d.Destroy(t.Context(), asked), "Unseal": d.Unseal(t.Context(), asked),
					"Pin": d.Pin(t.Context(), asked, "x"), "Seal": d.Seal(t.Context(), "frozen", asked),
				} {
					if !errors.Is(err, driver.ErrForeign) {
						t.Errorf("%s: %v, want ErrForeign", what, err)
					}
				}
			}
			takeAndSeal(t, d, requestOf(t, 9, ds)) // which sweeps
			if err := d.Destroy(t.Context(), made[0], made[2]); err != nil {
				t.Error(err)
			}
			if !isSubvolume(bad.Name) || len(list(t, d, ds)) != 2 {
				t.Errorf("left: %+v", list(t, d, ds))
			}
		})
	}
}

func TestReplacedSnapshotIsAtFault(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	progs(t, "subvolume", "delete", one.Name)
	progs(t, "subvolume", "snapshot", "-r", ds.Name, one.Name)
	got := list(t, d, ds)
	if len(got) != 1 || !strings.Contains(got[0].Fault, "UUID") || !got[0].Sealed {
		t.Fatalf("listed %+v", got)
	}
	for _, asked := range []driver.Snapshot{one, got[0]} {
		if err := d.Destroy(t.Context(), asked); !errors.Is(err, driver.ErrForeign) || !isSubvolume(one.Name) {
			t.Errorf("Destroy: %v, want ErrForeign", err)
		}
	}
}

func TestStoreOfOthersIsNotBelieved(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(store string) error
	}{
		{"another owner", func(s string) error { return os.Chown(s, 1000, 1000) }},
		{"anybody may write", func(s string) error { return os.Chmod(s, 0o777) }},
		{"a link", func(s string) error { return errors.Join(os.Rename(s, s+"2"), os.Symlink(s+"2", s)) }},
		{"a file", func(s string) error { return errors.Join(os.Rename(s, s+"2"), os.WriteFile(s, nil, 0o600)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			top := testhost.Btrfs(t, 256<<20)
			ds, d := dataset(t, top, "d"), btrfs.New()
			one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
			if err := tc.spoil(filepath.Join(top, ".volsnap")); err != nil {
				t.Fatal(err)
			}
			if got := list(t, d, ds); len(got) != 0 {
				t.Errorf("listed %+v", got)
			}
			if err := d.Destroy(t.Context(), one); err == nil {
				t.Error("Destroy said that it is gone")
			}
			if g, err := d.Prepare(t.Context(), requestOf(t, 2, ds)); err == nil {
				t.Errorf("Prepare did not refuse: %v", g.Close(t.Context()))
			}
		})
	}
}

func TestOrphanedRecordsAreSwept(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	records := func() int {
		found, err := filepath.Glob(filepath.Join(top, ".volsnap", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	living, err := d.Prepare(t.Context(), requestOf(t, 1, ds))
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Prepare(t.Context(), requestOf(t, 2, ds))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(t.Context()); err != nil || records() != 1 {
		t.Fatalf("%d records beside a group that is under way, want its one; %v", records(), err)
	}
	snaps, err := driver.Take(t.Context(), living)
	if err := errors.Join(err, living.Close(t.Context()), d.Seal(t.Context(), "frozen", snaps...)); err != nil {
		t.Fatal(err)
	}
	progs(t, "subvolume", "delete", snaps[0].Name) // as a kill between delete and forget leaves it
	touch(t, filepath.Dir(snaps[0].Name), filepath.Base(snaps[0].Name)+".sealed.json.tmp")
	touch(t, filepath.Dir(snaps[0].Name), "somebody's notes")
	if got := list(t, d, ds); len(got) != 0 {
		t.Errorf("listed without a snapshot: %+v", got)
	}
	third := takeAndSeal(t, d, requestOf(t, 3, ds))
	if n := records(); n != 4 {
		t.Errorf("%d entries, want the snapshot, its two records and the notes", n)
	}
	if err := errors.Join(d.Destroy(t.Context(), third...), os.Remove(filepath.Join(filepath.Dir(third[0].Name), "somebody's notes"))); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), third...); err != nil || records() != 0 {
		t.Errorf("%d entries in the end, %v", records(), err)
	}
	if left, err := os.ReadDir(filepath.Join(top, ".volsnap")); err != nil || len(left) != 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

func TestDatasetReplacedBeforeTake(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	a, b, d := dataset(t, top, "a"), dataset(t, top, "b"), btrfs.New()
	g, err := d.Prepare(t.Context(), requestOf(t, 1, b))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(b.Name, b.Name+".old"), os.Rename(a.Name, b.Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.Take(t.Context(), g); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("Take: %v", err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := list(t, d, b); len(got) != 0 {
		t.Errorf("listed %+v", got)
	}
}

func TestMountedInAnotherNamespaceIsBusy(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "--propagation", "private", "sh", "-c",
		`mount --bind "$1" "$2" && echo ready && read x`, "sh", one.Name, t.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if err := d.Destroy(t.Context(), one); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("Destroy: %v, want ErrBusy", err)
	}
	_ = in.Close()
	_ = cmd.Wait() // read returns 1 at the end of its input
	if err := d.Destroy(t.Context(), one); err != nil {
		t.Error(err)
	}
}

// endsAfter is a context that ends once it was asked n times.
type endsAfter struct {
	context.Context
	n *int
}

func (c endsAfter) Err() error {
	if *c.n--; *c.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestDestroyStopsBetweenSteps(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	var all []driver.Snapshot
	for i := range 60 { // more than a batch
		all = append(all, takeAndSeal(t, d, requestOf(t, i, ds))...)
	}
	asked := 1
	if err := d.Destroy(endsAfter{t.Context(), &asked}, all...); !errors.Is(err, context.Canceled) {
		t.Errorf("Destroy: %v, want Canceled", err)
	}
	left := list(t, d, ds)
	if len(left) == 0 || len(left) == len(all) {
		t.Errorf("%d of %d are left, want a batch to be gone", len(left), len(all))
	}
	if err := d.Destroy(t.Context(), all...); err != nil || len(list(t, d, ds)) != 0 {
		t.Errorf("again: %v, left %d", err, len(list(t, d, ds)))
	}
}

func TestCloneHasNoReceivedUUID(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds := driver.Dataset{Kind: btrfs.Kind, Name: receivedWritable(t, top)}
	d := btrfs.New()
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	if again := takeAndSeal(t, d, requestOf(t, 2, ds))[0]; again.GUID == one.GUID {
		t.Errorf("two snapshots have the GUID %s", one.GUID)
	}
	to := driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(top, "clone")}
	if err := d.Clone(t.Context(), one, to); err != nil {
		t.Fatal(err)
	}
	show := progs(t, "subvolume", "show", to.Name)
	if !strings.Contains(strings.ReplaceAll(show, "\t", ""), "Received UUID:-") && !strings.Contains(strings.Join(strings.Fields(show), " "), "Received UUID: -") {
		t.Errorf("the clone has a received UUID:\n%s", show)
	}
	elsewhere := driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(t.TempDir(), "x")}
	if err := d.Clone(t.Context(), one, elsewhere); !errors.Is(err, driver.ErrNotSupported) {
		t.Errorf("Clone to another kind of file system: %v", err)
	}
}

func TestTwoFileSystemsAreNoGroup(t *testing.T) {
	a, b := testhost.Btrfs(t, 256<<20), testhost.Btrfs(t, 256<<20)
	d, dsA, dsB := btrfs.New(), dataset(t, a, "a"), dataset(t, b, "b")
	if _, err := d.Prepare(t.Context(), requestOf(t, 1, dsA, dsB)); err == nil {
		t.Error("Prepare took datasets of two file systems for one pool")
	}
	one := takeAndSeal(t, d, requestOf(t, 2, dsA))[0]
	if err := d.Clone(t.Context(), one, driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(b, "x")}); err == nil {
		t.Error("Clone went to another file system")
	}
	other := takeAndSeal(t, d, requestOf(t, 3, dsB))[0]
	got, err := d.Snapshots(t.Context(), dsA, dsB)
	if err != nil || len(got) != 2 {
		t.Fatalf("listed %+v, %v", got, err)
	}
	if err := d.Destroy(t.Context(), one, other); err != nil {
		t.Error(err)
	}
}
