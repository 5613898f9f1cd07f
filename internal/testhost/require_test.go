package testhost

import "testing"

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
