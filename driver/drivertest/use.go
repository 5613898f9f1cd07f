package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

var useCases = []testCase{
	{"a mount shows the state at the snapshot, read-only", func(s *suite) {
		ds := s.dataset("to mount", "old")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "new")
		dir := filepath.Join(s.TempDir(), "a b")
		s.must(os.Mkdir(dir, 0o755))
		unmount, err := s.d.Mount(s.ctx, one, dir)
		s.must(err)
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		s.must(err)
		s.equal("mounted content", string(got), "old")
		s.must(unmount(s.ctx))
		s.must(unmount(s.ctx))
		left, err := os.ReadDir(dir)
		s.must(err)
		s.equal("entries afterwards", len(left), 0)
	}},
	{"a mount wants an empty directory", func(s *suite) {
		one := s.sealed(s.dataset("mount where", "1"))
		full := s.TempDir()
		s.must(os.WriteFile(filepath.Join(full, "x"), []byte("mine"), 0o600))
		for _, dir := range []string{full, filepath.Join(full, "none"), filepath.Join(full, "x")} {
			if _, err := s.d.Mount(s.ctx, one, dir); err == nil {
				s.Errorf("Mount at %s was accepted", dir)
			}
		}
	}},
	{"a mount is undone by another process, and outlived by a part of it", func(s *suite) {
		one := s.sealed(s.dataset("mounted for long", "1"))
		dir, part := filepath.Join(s.TempDir(), "a b"), filepath.Join(s.TempDir(), "f")
		s.must(errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(part, nil, 0o600)))
		outside, err := mountinfo.ID(dir)
		s.must(err)
		unmount, err := s.d.Mount(s.ctx, one, dir)
		s.must(err)
		if inside, err := mountinfo.ID(dir); err != nil || inside == outside {
			s.must(errors.Join(err, unmount(s.ctx))) // a storage in memory, which mounts nothing
			return
		}
		s.must(unix.Mount(filepath.Join(dir, "f"), part, "", unix.MS_BIND, ""))
		s.must(unix.Unmount(dir, 0))
		unmounted := func() error {
			if u, does := s.st.Driver().(driver.Unmounter); does {
				return u.Unmounted(s.ctx, one)
			}
			return nil
		}
		s.must(unmounted())
		if got, err := os.ReadFile(part); err != nil || string(got) != "1" {
			s.Errorf("the part holds %q, %v", got, err)
		}
		if err := s.st.Driver().Destroy(s.ctx, one); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Destroy while a part is mounted: %v, want ErrBusy", err)
		}
		s.must(unix.Unmount(part, 0))
		s.must(unmounted())
		s.must(unmounted())
		again, err := s.st.Driver().Mount(s.ctx, one, dir) // and as if nothing had been
		s.must(err)
		s.must(again(s.ctx))
		s.must(s.st.Driver().Destroy(s.ctx, one))
	}},
	{"a clone is writable and independent", func(s *suite) {
		if !s.d.Capabilities().Clone {
			s.Skip("the storage has no clones")
		}
		ds := s.dataset("to clone", "old")
		one := s.sealed(ds)
		s.st.Write(s.T, ds, "f", "new")
		to := s.st.CloneName(s.T, "a clone")
		s.must(s.d.Clone(s.ctx, one, to))
		s.equal("content of the clone", s.st.Read(s.T, to, "f"), "old")
		s.st.Write(s.T, to, "f", "cloned")
		s.equal("content of the source", s.st.Read(s.T, ds, "f"), "new")
		again := s.st.CloneName(s.T, "a second clone")
		s.must(s.d.Clone(s.ctx, one, again))
		s.equal("content of the snapshot", s.st.Read(s.T, again, "f"), "old")
		s.equal("the clone is no snapshot", names(s.list(ds)), []string{one.Name})
		if err := s.d.Clone(s.ctx, one, to); !errors.Is(err, driver.ErrExists) {
			s.Errorf("second Clone: %v, want ErrExists", err)
		}
		s.equal("the first clone stays", s.st.Read(s.T, to, "f"), "cloned")
		made := s.take(s.set(), to)
		s.must(s.d.Destroy(s.ctx, made...))
	}},
	{"a set holds what was there at the snapshot", func(s *suite) {
		ds := s.dataset("states", "0")
		for _, content := range []string{"1", "2", "3"} {
			s.st.Write(s.T, ds, "f", content)
			one := s.sealed(ds)
			s.st.Write(s.T, ds, "f", "later")
			dir := s.TempDir()
			unmount, err := s.d.Mount(s.ctx, one, dir)
			s.must(err)
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			s.must(err)
			s.equal("content", string(got), content)
			s.must(unmount(s.ctx))
		}
	}},
	{"a cancelled context does nothing", func(s *suite) {
		ds := s.dataset("ended", "1")
		one := s.sealed(ds)
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, listErr := s.d.Snapshots(ctx, ds)
		_, mountErr := s.d.Mount(ctx, one, s.TempDir())
		for what, err := range map[string]error{
			"Snapshots": listErr, "Mount": mountErr, "Destroy": s.d.Destroy(ctx, one), "Unseal": s.d.Unseal(ctx, one),
			"Pin": s.d.Pin(ctx, one, "x"), "Clone": s.d.Clone(ctx, one, s.st.CloneName(s.T, "ended clone")),
		} {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("%s: %v, want Canceled", what, err)
			}
		}
		if got := s.only(ds); !got.Sealed || len(got.Pins) != 0 {
			s.Errorf("afterwards %+v", got)
		}
	}},
	{"all datasets are listed without arguments", func(s *suite) {
		a, b := s.dataset("all a", "1"), s.dataset("all b", "1")
		want := map[string]bool{s.sealed(a).Name: true, s.sealed(b).Name: true}
		for _, one := range s.list() {
			delete(want, one.Name)
		}
		s.equal("not listed", want, map[string]bool{})
		if got := s.list(driver.Dataset{Kind: a.Kind, Name: a.Name + "-none"}); len(got) != 0 {
			s.Errorf("of no dataset: %v", names(got))
		}
	}},
}
