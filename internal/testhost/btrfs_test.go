package testhost

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBtrfsComesAndGoes(t *testing.T) {
	var mnt string
	t.Run("up", func(t *testing.T) {
		mnt = Btrfs(t, 256<<20)
		var st unix.Statfs_t
		if err := unix.Statfs(mnt, &st); err != nil || st.Type != unix.BTRFS_SUPER_MAGIC {
			t.Fatalf("statfs %s: type %#x, %v", mnt, st.Type, err)
		}
		inner := filepath.Join(mnt, "a b")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(mnt, inner, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	})
	if mnt == "" {
		t.Skip("no btrfs")
	}
	if _, err := os.Stat(filepath.Dir(mnt)); !os.IsNotExist(err) {
		t.Fatalf("%s is still there: %v", filepath.Dir(mnt), err)
	}
}

func TestRequired(t *testing.T) {
	for _, tc := range []struct {
		name, ci, list, part string
		want                 bool
	}{
		{"nothing set", "", "", PartBtrfs, false},
		{"named", "", "docker, btrfs", PartBtrfs, true},
		{"another named", "", "docker,zfs", PartBtrfs, false},
		{"a part of a name", "", "btrfsx", PartBtrfs, false},
		{"ci", "true", "", PartLVM, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("CI", tc.ci)
			t.Setenv("VOLSNAP_TEST_REQUIRE", tc.list)
			if got := required(tc.part); got != tc.want {
				t.Fatalf("required(%q) = %t, want %t", tc.part, got, tc.want)
			}
		})
	}
}
