package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

// RunStages runs the contract of driver.Stager. The driver of st is one.
func RunStages(t *testing.T, st Storage) {
	t.Helper()
	for _, c := range stageCases {
		t.Run(c.name, func(t *testing.T) {
			s := &stages{suite: &suite{T: t, st: st, d: st.Driver(), ctx: t.Context()}}
			s.g = s.stager()
			c.run(s)
		})
	}
}

type stageCase struct {
	name string
	run  func(*stages)
}

// stages is one case under way.
type stages struct {
	*suite
	g driver.Stager
}

func (s *stages) stager() driver.Stager {
	s.Helper()
	g, ok := s.st.Driver().(driver.Stager)
	if !ok {
		s.Fatalf("%T is no driver.Stager", s.d)
	}
	return g
}

// stage makes a stage, which is gone with the test.
func (s *stages) stage(one driver.Snapshot, name string) driver.Stage {
	s.Helper()
	st, err := s.g.Stage(s.ctx, one, name)
	s.must(err)
	s.Cleanup(func() {
		guid, err := s.g.Identity(context.WithoutCancel(s.ctx), st.Dataset)
		if errors.Is(err, driver.ErrNotFound) {
			return
		}
		s.must(err)
		s.must(s.g.Discard(context.WithoutCancel(s.ctx), driver.Stage{Dataset: st.Dataset, GUID: guid}, nil))
	})
	return st
}

func (s *stages) identity(ds driver.Dataset) string {
	s.Helper()
	guid, err := s.g.Identity(s.ctx, ds)
	s.must(err)
	return guid
}

// inStage is what the file "f" of a stage holds; with content, that is written to it first.
func (s *stages) inStage(st driver.Stage, content string) string {
	s.Helper()
	dir := s.TempDir()
	at, err := s.g.Attach(s.ctx, st, dir)
	s.must(err)
	defer func() { s.must(s.g.Detach(s.ctx, st, dir)) }()
	file := filepath.Join(at, "f")
	if content != "" {
		s.must(os.WriteFile(file, []byte(content), 0o600))
	}
	text, err := os.ReadFile(file)
	s.must(err)
	return string(text)
}

var stageCases = []stageCase{
	{"a stage is writable, independent, and nobody's snapshot", func(s *stages) {
		ds := s.dataset("to stage", "old")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "new")
		st := s.stage(one, "a-1")
		at, err := s.g.StageOf(one, "a-1")
		s.must(err)
		s.equal("where it is", st.Dataset, at)
		s.equal("its GUID", s.identity(st.Dataset), st.GUID)
		s.equal("content", s.inStage(st, ""), "old")
		s.equal("written", s.inStage(st, "changed"), "changed")
		s.equal("content of the dataset", s.st.Read(s.T, ds, "f"), "new")
		for _, listed := range s.list() {
			if listed.Name == st.Dataset.Name || listed.Dataset == st.Dataset {
				s.Errorf("the driver lists %+v", listed)
			}
		}
		s.equal("snapshots of the dataset", names(s.list(ds)), []string{one.Name})
		if _, err := s.g.Stage(s.ctx, one, "a-1"); !errors.Is(err, driver.ErrExists) {
			s.Errorf("a second one: %v, want ErrExists", err)
		}
		s.equal("it stays", s.inStage(st, ""), "changed")
		s.must(s.g.Discard(s.ctx, st, nil))
		s.must(s.g.Discard(s.ctx, st, nil))
		if _, err := s.g.Identity(s.ctx, st.Dataset); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("discarded: %v, want ErrNotFound", err)
		}
		s.must(s.d.Destroy(s.ctx, one))
	}},
	{"names of stages", func(s *stages) {
		one := s.sealed(s.dataset("names", "1"))
		for _, name := range []string{"", ".", "..", "-a", "a/b", "a b", "a@b", "../a", "a\n"} {
			if _, err := s.g.Stage(s.ctx, one, name); !errors.Is(err, driver.ErrBadStage) {
				s.Errorf("%q: %v, want ErrBadStage", name, err)
			}
		}
	}},
	{"swapped, and swapped back", func(s *stages) {
		ds := s.dataset("to swap", "old")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "new")
		before := s.sealed(ds)
		was := s.identity(ds)
		st := s.stage(one, "swap")
		s.equal("content", s.inStage(st, "staged"), "staged")
		for range 2 { // the second time it is so already
			s.must(s.stager().Swap(s.ctx, ds, st.Dataset, st.GUID))
			s.equal("the dataset", s.identity(ds), st.GUID)
			s.equal("the stage", s.identity(st.Dataset), was)
			s.equal("content", s.st.Read(s.T, ds, "f"), "staged")
		}
		aside := driver.Stage{Dataset: st.Dataset, GUID: was}
		s.equal("content of the stage", s.inStage(aside, ""), "new")
		for _, was := range []driver.Snapshot{one, before} { // wherever it lies now
			now := s.found(was)
			now.Name, now.Lines = was.Name, was.Lines
			s.equal("listed as before: "+was.Name, now, was)
		}
		s.must(s.stager().Swap(s.ctx, ds, st.Dataset, was))
		s.equal("the dataset, back", s.identity(ds), was)
		s.equal("content, back", s.st.Read(s.T, ds, "f"), "new")
		s.equal("content of the stage, back", s.inStage(st, ""), "staged")
	}},
	{"snapshots of a dataset that was swapped in", func(s *stages) {
		ds := s.dataset("line", "1")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "2")
		two := s.sealed(ds)
		was := s.identity(ds)
		st := s.stage(one, "line")
		s.must(s.g.Swap(s.ctx, ds, st.Dataset, st.GUID))
		s.st.Write(s.T, ds, "f", "3")
		three := s.sealed(ds)
		if three.Dataset != ds || three.Order <= two.Order {
			s.Errorf("%+v came after %+v", three, two)
		}
		dir := s.TempDir()
		for _, tc := range []struct {
			of   driver.Snapshot
			want string
		}{{s.found(one), "1"}, {s.found(two), "2"}, {three, "3"}} {
			unmount, err := s.d.Mount(s.ctx, tc.of, dir)
			s.must(err)
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			s.must(err)
			s.equal("content of "+tc.of.Name, string(got), tc.want)
			s.must(unmount(s.ctx))
		}
		s.must(s.g.Swap(s.ctx, ds, st.Dataset, was))
		s.must(s.d.Destroy(s.ctx, s.found(three))) // or the stage would be kept for it, where snapshots lie in their dataset
	}},
	{"a stage that is settled is a dataset, and no stage any more", func(s *stages) {
		ds := s.dataset("to settle", "old")
		one := s.sealed(ds)
		st := s.stage(one, "settle")
		wanted := s.st.CloneName(s.T, "settled 1")
		at := s.st.Path(wanted, ".")
		if filepath.Clean(at) == filepath.Clean(s.st.Path(ds, ".")) {
			s.Fatal("a clone would lie at its dataset")
		}
		at = filepath.Clean(at)
		settled, err := s.g.Settle(s.ctx, st, filepath.Base(wanted.Name), at)
		s.must(err)
		s.equal("the dataset", settled, wanted)
		s.equal("its GUID", s.identity(settled), st.GUID)
		text, err := os.ReadFile(filepath.Join(at, "f"))
		s.must(err)
		s.equal("content", string(text), "old")
		if _, err := s.g.Identity(s.ctx, st.Dataset); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("the stage: %v, want ErrNotFound", err)
		}
		if err := s.g.Discard(s.ctx, driver.Stage{Dataset: settled, GUID: st.GUID}, nil); !errors.Is(err, driver.ErrForeign) {
			s.Errorf("it is discarded: %v, want ErrForeign", err)
		}
		made := s.take(s.set(), settled)
		s.must(s.d.Destroy(s.ctx, made...))
		again := s.stage(one, "settle")
		if _, err := s.g.Settle(s.ctx, again, filepath.Base(wanted.Name), at); !errors.Is(err, driver.ErrExists) {
			s.Errorf("in its place: %v, want ErrExists", err)
		}
		s.equal("the stage stays", s.inStage(again, ""), "old")
	}},
	{"what is not the one or the other is not swapped", func(s *stages) {
		ds, other := s.dataset("strange", "1"), s.dataset("stranger", "2")
		one := s.sealed(ds)
		was := s.identity(ds)
		st := s.stage(one, "strange")
		if err := s.g.Swap(s.ctx, ds, st.Dataset, s.identity(other)); !errors.Is(err, driver.ErrForeign) {
			s.Errorf("another's GUID: %v, want ErrForeign", err)
		}
		if err := s.g.Swap(s.ctx, ds, other, s.identity(other)); !errors.Is(err, driver.ErrForeign) {
			s.Errorf("no stage: %v, want ErrForeign", err)
		}
		s.equal("the dataset", s.identity(ds), was)
		s.equal("the stage", s.identity(st.Dataset), st.GUID)
		s.equal("the other", s.st.Read(s.T, other, "f"), "2")
	}},
	{"what is not a stage is not discarded", func(s *stages) {
		ds := s.dataset("kept", "1")
		one := s.sealed(ds)
		st := s.stage(one, "kept")
		for what, bad := range map[string]driver.Stage{
			"a dataset":      {Dataset: ds, GUID: s.identity(ds)},
			"a snapshot":     {Dataset: driver.Dataset{Kind: ds.Kind, Name: one.Name}, GUID: one.GUID},
			"another's GUID": {Dataset: st.Dataset, GUID: s.identity(ds)},
			"no GUID":        {Dataset: st.Dataset},
		} {
			if err := s.g.Discard(s.ctx, bad, nil); !errors.Is(err, driver.ErrForeign) {
				s.Errorf("%s: %v, want ErrForeign", what, err)
			}
		}
		s.equal("the dataset", s.st.Read(s.T, ds, "f"), "1")
		s.equal("the stage", s.inStage(st, ""), "1")
		s.equal("the snapshot", s.only(ds), one)
	}},
	{"a dataset that was swapped out stays if it was written to since", func(s *stages) {
		ds := s.dataset("written", "1")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "2")
		two := s.sealed(ds)
		was := s.identity(ds)
		st := s.stage(one, "written")
		s.must(s.g.Swap(s.ctx, ds, st.Dataset, st.GUID))
		aside := driver.Stage{Dataset: st.Dataset, GUID: was}
		s.inStage(aside, "3")
		two = s.found(two)
		if err := s.g.Discard(s.ctx, aside, &two); !errors.Is(err, driver.ErrChanged) && !errors.Is(err, driver.ErrBusy) {
			s.Errorf("it was written to: %v, want ErrChanged", err)
		}
		s.equal("its content", s.inStage(aside, ""), "3")
		s.must(s.g.Swap(s.ctx, ds, st.Dataset, was))
	}},
	{"a dataset that was swapped out and not written to is discarded, or holds snapshots", func(s *stages) {
		ds := s.dataset("unwritten", "1")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "2")
		two := s.sealed(ds)
		was := s.identity(ds)
		st := s.stage(one, "unwritten")
		s.must(s.g.Swap(s.ctx, ds, st.Dataset, st.GUID))
		two = s.found(two)
		err := s.g.Discard(s.ctx, driver.Stage{Dataset: st.Dataset, GUID: was}, &two)
		if errors.Is(err, driver.ErrBusy) { // a storage whose snapshots lie in their dataset
			s.must(s.g.Swap(s.ctx, ds, st.Dataset, was))
			return
		}
		s.must(err)
		s.equal("content", s.st.Read(s.T, ds, "f"), "1")
		dir := s.TempDir()
		unmount, err := s.d.Mount(s.ctx, s.found(two), dir)
		s.must(err)
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		s.must(err)
		s.equal("content of the snapshot", string(got), "2")
		s.must(unmount(s.ctx))
	}},
	{"an ended context stages, swaps and discards nothing", func(s *stages) {
		ds := s.dataset("ended stage", "1")
		one := s.sealed(ds)
		st := s.stage(one, "ended")
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, stageErr := s.g.Stage(ctx, one, "other")
		_, attachErr := s.g.Attach(ctx, st, s.TempDir())
		for what, err := range map[string]error{
			"Stage": stageErr, "Attach": attachErr, "Swap": s.g.Swap(ctx, ds, st.Dataset, st.GUID), "Discard": s.g.Discard(ctx, st, nil),
		} {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("%s: %v, want Canceled", what, err)
			}
		}
		s.equal("the stage", s.identity(st.Dataset), st.GUID)
	}},
}

// found is a snapshot as it is listed now: where it lies may have changed.
func (s *stages) found(want driver.Snapshot) driver.Snapshot {
	s.Helper()
	for _, one := range s.list() {
		if one.GUID == want.GUID {
			return one
		}
	}
	s.Fatalf("%s is not listed any more", want.Name)
	return driver.Snapshot{}
}
