package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPoolComesAndGoes runs on the storage of this run, see Storage.
func TestPoolComesAndGoes(t *testing.T) {
	var p *Pool
	t.Run("up", func(t *testing.T) {
		p = StartStorage(t, 512<<20)
		if p.Kind != PartBtrfs && !there(p) {
			t.Errorf("there is no %s %s", p.Kind, p.Name)
		}
		if p.Kind == PartBtrfs {
			var st unix.Statfs_t
			if err := unix.Statfs(p.Top, &st); err != nil || st.Type != unix.BTRFS_SUPER_MAGIC {
				t.Errorf("statfs %s: type %#x, %v", p.Top, st.Type, err)
			}
		}
		inner := filepath.Join(p.Top, "a b")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(p.Top, inner, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if mounts, err := mountsBelow(p.Dir); err != nil || mounts[len(mounts)-1] != inner {
			t.Errorf("mounted are %q, %v", mounts, err)
		}
	})
	if p == nil {
		t.Skip("no pool")
	}
	if _, err := os.Stat(p.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", p.Dir, err)
	}
	if there(p) {
		t.Errorf("%s %s is still there", p.Kind, p.Name)
	}
}

// there asks the storage's own tools.
func there(p *Pool) bool {
	switch p.Kind {
	case PartZFS:
		return exec.Command("zpool", "list", p.Name).Run() == nil
	case PartLVM:
		return exec.Command("lvs", p.ThinPool()).Run() == nil
	}
	return false
}

// TestDeadProcessesPoolIsSwept is for what the kill of a process left, with things mounted.
func TestDeadProcessesPoolIsSwept(t *testing.T) {
	StartStorage(t, 128<<20) // skips where there is none
	dir := Orphan(t, "pool")
	sweepPools()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if kind, _ := Storage(); there(poolIn(kind, dir)) {
		t.Errorf("the pool of %s is still there", dir)
	}
}

func TestStorage(t *testing.T) {
	for _, tc := range []struct {
		set, want string
		fails     bool
	}{{"", PartBtrfs, false}, {"zfs", PartZFS, false}, {"lvm", PartLVM, false}, {"docker", "", true}, {"ZFS", "", true}} {
		t.Setenv("VOLSNAP_TEST_STORAGE", tc.set)
		if got, err := Storage(); got != tc.want || (err != nil) != tc.fails {
			t.Errorf("VOLSNAP_TEST_STORAGE=%q: %q, %v", tc.set, got, err)
		}
	}
}

func TestSlow(t *testing.T) {
	for set, want := range map[string]int{"": 1, "5": 5, "0": 1, "-3": 1, "x": 1} {
		t.Setenv("VOLSNAP_TEST_SLOW", set)
		if got := Slow(); int(got) != want {
			t.Errorf("VOLSNAP_TEST_SLOW=%q: %d, want %d", set, got, want)
		}
	}
}
