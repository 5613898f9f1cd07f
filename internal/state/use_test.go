package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/state"
)

// What is in use cannot be claimed, what is claimed cannot be used, and nothing stays behind. Two descriptions of an open file
// lock each other out as two processes do (flock(2)).
func TestUses(t *testing.T) {
	u := state.Uses{Dir: filepath.Join(t.TempDir(), "uses")}
	first, err := u.Use("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	second, err := u.Use("a")
	if err != nil {
		t.Fatal(err)
	}
	first()
	busy, release, err := u.Claim("a", "b", "a")
	if err != nil || len(busy) != 1 || !busy["a"] {
		t.Fatalf("busy %v, %v; want a alone", busy, err)
	}
	if _, err := u.Use("c", "b"); !errors.Is(err, state.ErrLocked) {
		t.Errorf("Use of what is claimed: %v", err)
	}
	release()
	second()
	busy, release, err = u.Claim("a", "b", "c")
	if err != nil || len(busy) != 0 {
		t.Errorf("afterwards busy: %v, %v", busy, err)
	}
	release()
	left, err := os.ReadDir(u.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestUsesOfNoName(t *testing.T) {
	u := state.Uses{Dir: filepath.Join(t.TempDir(), "uses")}
	for _, name := range []string{"", "..", "a/b", "-x", "a\x00"} {
		if _, err := u.Use(name); err == nil {
			t.Errorf("Use(%q) passed", name)
		}
		if _, _, err := u.Claim(name); err == nil {
			t.Errorf("Claim(%q) passed", name)
		}
	}
}

// A directory that somebody else has put there is not trusted.
func TestUsesInAPlaceOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "uses")); err != nil {
		t.Fatal(err)
	}
	if _, err := (state.Uses{Dir: filepath.Join(dir, "uses")}).Use("a"); err == nil {
		t.Error("a link was followed")
	}
}

// Files are removed and made anew all the time: never do a user and a claimer both have one.
func TestUsesAtOnce(t *testing.T) {
	u := state.Uses{Dir: filepath.Join(t.TempDir(), "uses")}
	var g errgroup.Group
	var users, claims int
	lock := make(chan struct{}, 1)
	note := func(u, c int) (bad bool) {
		lock <- struct{}{}
		defer func() { <-lock }()
		users += u
		claims += c
		return users > 0 && claims > 0 || claims > 1
	}
	for i := range 8 {
		g.Go(func() error {
			for range 300 {
				if i%2 == 0 {
					release, err := u.Use("a")
					if errors.Is(err, state.ErrLocked) {
						continue
					}
					if err != nil {
						return err
					}
					if note(1, 0) {
						return errors.New("used while claimed")
					}
					note(-1, 0)
					release()
					continue
				}
				busy, release, err := u.Claim("a")
				if err != nil {
					return err
				}
				if !busy["a"] {
					if note(0, 1) {
						return errors.New("claimed while used")
					}
					note(0, -1)
				}
				release()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
