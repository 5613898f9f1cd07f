package mountinfo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line string
		want Mount
	}{
		{
			`36 35 0:29 /@a\040b /mnt/x\040y\011z\134 rw,noatime shared:1 master:2 - btrfs /dev/sda1 rw,space_cache=v2,subvol=/@a`,
			Mount{36, "0:29", "/@a b", "/mnt/x y\tz\\", "btrfs", "/dev/sda1", []string{"rw", "noatime", "rw", "space_cache=v2", "subvol=/@a"}},
		},
		{
			`224 217 0:41 /a\040b /exp/a\040b rw shared:120 - zfs exp/a\040b rw,xattr,noacl`,
			Mount{224, "0:41", "/a b", "/exp/a b", "zfs", "exp/a b", []string{"rw", "rw", "xattr", "noacl"}},
		},
		{
			`36 25 253:4 /_da\040ta /mnt/a\040b rw,relatime shared:1 - ext4 /dev/mapper/t--g1-v rw`,
			Mount{36, "253:4", "/_da ta", "/mnt/a b", "ext4", "/dev/mapper/t--g1-v", []string{"rw", "relatime", "rw"}},
		},
		{
			`36 35 0:45 /@data\040x /srv/with\040space\134n rw - btrfs /dev/sdb rw`, // "\n" is two letters
			Mount{36, "0:45", "/@data x", `/srv/with space\n`, "btrfs", "/dev/sdb", []string{"rw", "rw"}},
		},
		{
			`1 0 8:1 / / rw - ext4 /dev/root ro`,
			Mount{1, "8:1", "/", "/", "ext4", "/dev/root", []string{"rw", "ro"}},
		},
		{
			"7 1 0:5 / /a\r\v\u00a0\u2028b rw - tmpfs\u00a0 c\rd rw", // white space that the kernel leaves as it is
			Mount{7, "0:5", "/", "/a\r\v\u00a0\u2028b", "tmpfs\u00a0", "c\rd", []string{"rw", "rw"}},
		},
		{
			`7 1 0:5 / /a rw - tmpfs  rw`,
			Mount{7, "0:5", "/", "/a", "tmpfs", "", []string{"rw", "rw"}},
		},
	} {
		for _, text := range []string{tc.line, tc.line + "\n"} {
			got, err := parse(text)
			if diff := cmp.Diff([]Mount{tc.want}, got); err != nil || diff != "" {
				t.Errorf("%q: %v\n%s", text, err, diff)
			}
		}
	}
}

// TestParseLeavesNothingOut: what is not understood is no mount, and neither are the others.
func TestParseLeavesNothingOut(t *testing.T) {
	const good = "1 0 8:1 / / rw - ext4 /dev/root rw\n"
	for _, bad := range []string{
		"\n",
		"x\n",
		"1 2 3\n",
		"x 35 98:0 / /mnt\n",
		"x 25 253:4 / /mnt rw - ext4 x rw\n",
		"-1 25 253:4 / /mnt rw - ext4 x rw\n",
		"36 25 253:4 / /mnt rw ext4 /dev/vda rw\n",
		"36 25 253:4 / /mnt - ext4 /dev/vda rw\n",
		`1 0 8:1 / /new\012line rw -` + "\n",
		"36 25 253:4 / /mnt rw - ext4 /dev/vda\n",
	} {
		for _, text := range []string{bad, good + bad, bad + good} {
			if got, err := parse(text); err == nil || got != nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
				t.Errorf("%q: %+v, %v", text, got, err)
			}
		}
	}
	if got, err := parse(""); err != nil || got != nil {
		t.Errorf("of nothing: %+v, %v", got, err)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", `/a`: "/a", `/a\040b`: "/a b", `\012`: "\n", `/\134`: `/\`, `/\134\011`: "/\\\t", `/\303\274`: "/\u00fc",
		`\`: `\`, `/a\0`: `/a\0`, `\04`: `\04`, `/a\09x`: `/a\09x`, `\999`: `\999`, `\777`: `\777`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

// What was read can be written, and is read as the same.
func FuzzParse(f *testing.F) {
	f.Add(`36 35 0:29 /@a\040b /mnt/x rw shared:1 - btrfs /dev/sda1 rw` + "\n")
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n1 0 8:1 / / rw - tmpfs  ro\n")
	f.Add("0     -, - 0  ")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parse(text)
		if err != nil {
			return
		}
		if lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1; text != "" && len(all) != lines {
			t.Fatalf("%d mounts of %d lines", len(all), lines)
		}
		var b strings.Builder
		for _, m := range all {
			if m.Options[0] == "-" {
				return // it was not alone, as it would be here
			}
			fmt.Fprintf(&b, "%d 0 %s %s %s %s - %s %s %s\n",
				m.ID, m.Dev, escape(m.Root), escape(m.Point), m.Options[0], m.FS, escape(m.Source), strings.Join(m.Options[1:], ","))
		}
		again, err := parse(b.String())
		if diff := cmp.Diff(all, again); err != nil || diff != "" {
			t.Fatalf("%q: %v\n%s", b.String(), err, diff)
		}
	})
}

// escape escapes all, which is more than the kernel does.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\%03o`, c)
	}
	return b.String()
}
