package driverfake_test

import (
	"context"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/driver/drivertest"
)

// storage is the fake as the suite wants it.
type storage struct{ d *driverfake.Driver }

func (s storage) Driver() driver.Driver { s.d.Restart(); return s.d }

func (s storage) Dataset(_ testing.TB, name string) driver.Dataset {
	return s.d.AddDataset("/pool/" + name)
}

func (s storage) Path(ds driver.Dataset, file string) string { return path.Join(ds.Name, file) }

func (s storage) Write(_ testing.TB, ds driver.Dataset, file, content string) {
	s.d.Write(ds, file, content)
}

func (s storage) Read(_ testing.TB, ds driver.Dataset, file string) string { return s.d.Read(ds, file) }

func (s storage) Foreign(_ testing.TB, ds driver.Dataset, name string) (driver.Snapshot, func() bool) {
	made := s.d.AddForeign(ds, name)
	return made, func() bool {
		for _, have := range s.d.Foreign() {
			if have == made.Name {
				return true
			}
		}
		return false
	}
}

func (s storage) Tamper(_ testing.TB, snap driver.Snapshot) { s.d.SetFault(snap, "is writable") }

func (s storage) CloneName(_ testing.TB, name string) driver.Dataset {
	return driver.Dataset{Kind: driverfake.Kind, Name: "/clones/" + name}
}

func TestContract(t *testing.T) {
	d := driverfake.New(t)
	d.Unchecked()
	drivertest.Run(t, storage{d})
}

// quiet collects what the fake complains about instead of failing the test.
type quiet struct{ testing.TB }

func (quiet) Cleanup(func()) {}

func newSet(t *testing.T, d driver.Driver, sec int, ds ...driver.Dataset) []driver.Snapshot {
	t.Helper()
	id, err := driver.NewSetID("ccn", time.Date(2026, 1, 1, 0, 0, sec, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	req := driver.Request{Set: id, Of: len(ds)}
	for i, one := range ds {
		req.Items = append(req.Items, driver.Item{Dataset: one, Member: i + 1})
	}
	g, err := d.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := driver.Take(t.Context(), g)
	if err := errors.Join(err, g.Close(t.Context()), d.Seal(t.Context(), "frozen", snaps...)); err != nil {
		t.Fatal(err)
	}
	return snaps
}

func TestViolations(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		do         func(ctx context.Context, d *driverfake.Driver, old, newest driver.Snapshot) error
	}{
		{"clean", "", func(ctx context.Context, d *driverfake.Driver, old, _ driver.Snapshot) error {
			return errors.Join(d.Unseal(ctx, old), d.Destroy(ctx, old))
		}},
		{"newest", "newest complete set", func(ctx context.Context, d *driverfake.Driver, _, newest driver.Snapshot) error {
			return d.Unseal(ctx, newest)
		}},
		{"permitted", "", func(ctx context.Context, d *driverfake.Driver, _, newest driver.Snapshot) error {
			d.Permit(newest.Set)
			return errors.Join(d.Unseal(ctx, newest), d.Destroy(ctx, newest))
		}},
		{"sealed", "still sealed", func(ctx context.Context, d *driverfake.Driver, old, _ driver.Snapshot) error {
			return d.Destroy(ctx, old)
		}},
		{"pinned", "pinned", func(ctx context.Context, d *driverfake.Driver, old, _ driver.Snapshot) error {
			_ = d.Pin(ctx, old, "keep")
			_ = d.Destroy(ctx, old)
			return nil
		}},
		{"foreign", "not volsnap's", func(ctx context.Context, d *driverfake.Driver, old, _ driver.Snapshot) error {
			_ = d.Destroy(ctx, d.AddForeign(old.Dataset, "volsnap-x"))
			return nil
		}},
		{"open group", "not closed", func(ctx context.Context, d *driverfake.Driver, old, _ driver.Snapshot) error {
			_, err := d.Prepare(ctx, driver.Request{
				Set: "x-20260101T000000.000Z", Of: 1,
				Items: []driver.Item{{Dataset: old.Dataset, Member: 1}},
			})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := driverfake.New(quiet{t})
			ds := d.AddDataset("/srv/pg")
			old, newest := newSet(t, d, 1, ds)[0], newSet(t, d, 2, ds)[0]
			if err := tc.do(t.Context(), d, old, newest); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(d.Violations(), "; ")
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("violations %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFaultHitsTheNthCallAlone(t *testing.T) {
	d := driverfake.New(t)
	ds := d.AddDataset("/srv/pg")
	d.Fault("Space", 2, driver.ErrNoSpace)
	for i, want := range []error{nil, driver.ErrNoSpace, nil} {
		if _, err := d.Space(t.Context(), ds); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("call %d: %v, want %v", i+1, err, want)
		}
	}
	if got := d.Calls(); len(got) != 3 || got[0].Method != "Space" {
		t.Errorf("calls: %+v", got)
	}
}

func TestBlockHoldsUntilReleased(t *testing.T) {
	d := driverfake.New(t)
	ds := d.AddDataset("/srv/pg")
	reached, release := d.Block("Space", 1)
	done := make(chan error)
	go func() {
		_, err := d.Space(t.Context(), ds)
		done <- err
	}()
	<-reached
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, _ = d.Block("Space", 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := d.Space(ctx, ds); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("blocked for ever: %v", err)
	}
}

func TestKillLeavesWhatWasDone(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 0, 2: 0, 3: 1, 4: 2} { // two intents come first
		d := driverfake.New(t)
		a, b := d.AddDataset("/a"), d.AddDataset("/b")
		d.KillAt(n)
		req := driver.Request{Set: "ccn-20260101T000000.000Z", Of: 2, Items: []driver.Item{
			{Dataset: a, Member: 1}, {Dataset: b, Member: 2},
		}}
		g, err := d.Prepare(t.Context(), req)
		if err == nil {
			_, err = driver.Take(t.Context(), g)
		}
		if !errors.Is(err, driverfake.ErrKilled) || !d.Killed() {
			t.Errorf("killed at %d: %v", n, err)
		}
		d.Restart()
		if got, err := d.Snapshots(t.Context()); err != nil || len(got) != want {
			t.Errorf("killed at %d: %d snapshots, %v; want %d", n, len(got), err, want)
		}
	}
}
