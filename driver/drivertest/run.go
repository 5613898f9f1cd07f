// Package drivertest is the contract of package driver as a suite of tests. Every driver passes it, on real storage.
//
// A bug that was found in one driver becomes a case here. What cannot be had from every storage the suite does not ask
// for; what Capabilities promises it does.
package drivertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

// Storage is what the suite needs of a storage beside its driver.
type Storage interface {
	// Driver is a new value, as a new process would make it.
	Driver() driver.Driver
	// Dataset makes an empty dataset in one pool, always the same, and removes it with the test. Names hold spaces too.
	Dataset(t testing.TB, name string) driver.Dataset
	// Path is where a file of a dataset lies, for Resolve; "." is the dataset itself.
	Path(ds driver.Dataset, file string) string
	// Write puts a file in the top of a dataset.
	Write(t testing.TB, ds driver.Dataset, file, content string)
	// Read is what the file holds, "" if there is none.
	Read(t testing.TB, ds driver.Dataset, file string) string
	// Foreign makes a snapshot that is not volsnap's under that name in the place where the driver would keep its own, and
	// returns what a caller who took it for one would pass, and whether it is still there.
	Foreign(t testing.TB, ds driver.Dataset, name string) (s driver.Snapshot, there func() bool)
	// Tamper changes a snapshot, so that it is no more what was sealed.
	Tamper(t testing.TB, s driver.Snapshot)
	// CloneName is a free name for a clone, which is removed with the test.
	CloneName(t testing.TB, name string) driver.Dataset
}

// Run runs the whole suite.
func Run(t *testing.T, st Storage) {
	t.Helper()
	for _, c := range slices.Concat(takeCases, pruneCases, oursCases, useCases) {
		t.Run(c.name, func(t *testing.T) { c.run(&suite{T: t, st: st, d: st.Driver(), ctx: t.Context()}) })
	}
}

type testCase struct {
	name string
	run  func(*suite)
}

// suite is one case under way.
type suite struct {
	*testing.T
	st  Storage
	d   driver.Driver
	ctx context.Context
	sec int
}

// must fails the case.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// set is an id that is newer than those before it in this case.
func (s *suite) set() driver.SetID {
	s.Helper()
	s.sec++
	id, err := driver.NewSetID("suite", time.Date(2026, 11, 21, 2, 0, s.sec, 123e6, time.UTC))
	s.must(err)
	return id
}

// dataset is a dataset with a file "f" that holds content.
func (s *suite) dataset(name, content string) driver.Dataset {
	s.Helper()
	ds := s.st.Dataset(s.T, name)
	s.st.Write(s.T, ds, "f", content)
	return ds
}

func request(set driver.SetID, ds ...driver.Dataset) driver.Request {
	req := driver.Request{Set: set, Of: len(ds)}
	for i, one := range ds {
		req.Items = append(req.Items, driver.Item{
			Dataset: one, Member: i + 1,
			Volumes: []driver.Volume{{Name: "v " + one.Name, Path: ".", NotOlderThan: []string{"w"}}},
		})
	}
	return req
}

func (s *suite) prepare(set driver.SetID, ds ...driver.Dataset) driver.Group {
	s.Helper()
	g, err := s.d.Prepare(s.ctx, request(set, ds...))
	s.must(err)
	return g
}

// take makes an unsealed set.
func (s *suite) take(set driver.SetID, ds ...driver.Dataset) []driver.Snapshot {
	s.Helper()
	g := s.prepare(set, ds...)
	got, err := driver.Take(s.ctx, g)
	s.must(err)
	s.must(g.Close(s.ctx))
	return got
}

// sealed makes a whole set of one dataset.
func (s *suite) sealed(ds driver.Dataset) driver.Snapshot {
	s.Helper()
	made := s.take(s.set(), ds)
	s.must(s.d.Seal(s.ctx, "atomic", made...))
	return s.list(ds)[len(s.list(ds))-1]
}

func (s *suite) list(ds ...driver.Dataset) []driver.Snapshot {
	s.Helper()
	got, err := s.d.Snapshots(s.ctx, ds...)
	s.must(err)
	return got
}

// only is the one snapshot of a dataset.
func (s *suite) only(ds driver.Dataset) driver.Snapshot {
	s.Helper()
	got := s.list(ds)
	if len(got) != 1 {
		s.Fatalf("%d snapshots of %s, want 1: %v", len(got), ds, names(got))
	}
	return got[0]
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func names(snaps []driver.Snapshot) []string {
	var out []string
	for _, one := range snaps {
		out = append(out, one.Name)
	}
	return out
}
