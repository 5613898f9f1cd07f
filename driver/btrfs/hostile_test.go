package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	st "github.com/volsnap/volsnap/driver/btrfs/internal/streamtest"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	hostileUUID = "0f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	baseUUID    = "1f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
)

// announced is an announcement of a snapshot with that GUID.
func announced(guid, base string) driver.ReceiveRequest {
	return driver.ReceiveRequest{Base: base, Snapshot: driver.Snapshot{
		Dataset: driver.Dataset{Kind: btrfs.Kind, Name: "/srv/pg"}, Set: driver.SetID("ccn-20261121T02000" + guid[:1] + ".123Z"),
		Member: 1, Of: 1, GUID: guid,
	}}
}

// state is everything below a directory: names, kinds, modes, owners, links and content, and times of all but directories.
func state(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s unix.Stat_t
		if err := unix.Lstat(at, &s); err != nil {
			return err
		}
		line := fmt.Sprintf("%q %o %d:%d %d", at, s.Mode, s.Uid, s.Gid, s.Nlink)
		if s.Mode&unix.S_IFMT != unix.S_IFDIR {
			line += fmt.Sprintf(" %d.%d", s.Mtim.Sec, s.Mtim.Nsec)
		}
		if s.Mode&unix.S_IFMT == unix.S_IFREG {
			text, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", text)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// loopDevice is a block device whose content is that of the file.
func loopDevice(t *testing.T, file string) (dev uint64) {
	t.Helper()
	out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	name := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", name).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v: %s", err, out)
		}
	})
	var s unix.Stat_t
	if err := unix.Stat(name, &s); err != nil {
		t.Fatal(err)
	}
	return s.Rdev
}

// Attributes of commands by their numbers, as the kernel's header names them.
func path(p string) st.Attr           { return st.Text(15, p) }
func to(p string) st.Attr             { return st.Text(16, p) }
func link(p string) st.Attr           { return st.Text(17, p) }
func mkfile(p string) []byte          { return st.Command(3, path(p)) }
func mkdirCmd(p string) []byte        { return st.Command(4, path(p)) }
func symlink(p, to string) []byte     { return st.Command(8, path(p), link(to)) }
func write(p, data string) []byte     { return st.Command(15, path(p), st.U64(18, 0), st.Text(19, data)) }
func truncate(p string) []byte        { return st.Command(17, path(p), st.U64(4, 0)) }
func chmod(p string, m uint64) []byte { return st.Command(18, path(p), st.U64(5, m)) }

func clone(p, uuid, from string) []byte {
	return st.Command(16, path(p), st.U64(18, 0), st.U64(24, 4096), st.UUID(20, uuid), st.U64(21, 1), st.Text(22, from), st.U64(23, 0))
}

// TestHostileStreams: what a stream says is done as root, and nothing of it outside of the replica that it makes.
func TestHostileStreams(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	victim := subvolume(t, filepath.Join(top, "victim"))
	place := mkdir(t, top, "place")
	for _, name := range []string{"secret", "script"} {
		if err := os.WriteFile(filepath.Join(victim, name), bytes.Repeat([]byte(name), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, victim, "dir")
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	dev := loopDevice(t, disk)
	progs(t, "subvolume", "snapshot", "-r", victim, filepath.Join(top, "ro"))
	readable := uuidOf(t, filepath.Join(top, "ro"))

	r := into(t, place)
	base := st.Stream(baseUUID, mkfile("f"), write("f", strings.Repeat("base", 1024)), symlink("old", victim))
	if _, err := r.Receive(t.Context(), announced(baseUUID, ""), bytes.NewReader(base)); err != nil {
		t.Fatal(err)
	}
	other := driver.ReceiveRequest{Snapshot: announced(hostileUUID, "").Snapshot}
	other.Snapshot.Dataset.Name, other.Snapshot.GUID = "/srv/other", "2f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	if _, err := r.Receive(t.Context(), other, bytes.NewReader(st.Stream(other.Snapshot.GUID, mkfile("o")))); err != nil {
		t.Fatal(err)
	}
	before, inPlace := state(t, victim), state(t, place)
	secret := filepath.Join(victim, "secret")
	setxattr := func(p, name string) []byte { return st.Command(13, path(p), st.Text(13, name), st.Text(14, "x")) }
	chown := func(p string) []byte { return st.Command(19, path(p), st.U64(6, 1000), st.U64(7, 1000)) }
	utimes := func(p string) []byte { return st.Command(20, path(p), st.Time(11, 1), st.Time(10, 1)) }
	device := st.Command(5, path("dev"), st.U64(5, unix.S_IFBLK|0o600), st.U64(8, dev))
	for name, commands := range map[string][][]byte{
		"write through a link":             {symlink("l", secret), write("l", "owned")},
		"write through a relative link":    {symlink("l", "../../../victim/secret"), write("l", "owned")},
		"write through a link of the base": {write("old/secret", "owned")},
		"write through a linked directory": {symlink("d", victim), write("d/secret", "owned")},
		"write through /proc":              {symlink("d", "/proc/self/root"), write("d"+secret, "owned")},
		"write through links of links":     {symlink("a", "b"), symlink("b", victim), write("a/secret", "owned")},
		"write through a link inside":      {mkdirCmd("in"), mkfile("in/f"), symlink("l", "in"), write("l/f", "x")},
		"make a file through a link":       {symlink("d", filepath.Join(victim, "dir")), mkfile("d/new")},
		"make a directory through a link":  {symlink("d", victim), mkdirCmd("d/new")},
		"make a link through a link":       {symlink("d", victim), symlink("d/new", "x")},
		"make a pipe through a link":       {symlink("d", victim), st.Command(6, path("d/new"))},
		"a file in the place of a link":    {symlink("l", filepath.Join(victim, "new")), mkfile("l")},
		"move a file out":                  {mkfile("x"), symlink("d", victim), st.Command(9, path("x"), to("d/x"))},
		"move a file in":                   {symlink("d", victim), st.Command(9, path("d/secret"), to("x"))},
		"link a file in":                   {symlink("d", victim), st.Command(10, path("x"), link("d/secret"))},
		"link a file out":                  {mkfile("x"), symlink("d", victim), st.Command(10, path("d/x"), link("x"))},
		"unlink outside":                   {symlink("d", victim), st.Command(11, path("d/secret"))},
		"rmdir outside":                    {symlink("d", victim), st.Command(12, path("d/dir"))},
		"truncate outside":                 {symlink("l", secret), truncate("l")},
		"chmod outside":                    {symlink("l", secret), chmod("l", 0o777)},
		"chmod in a linked directory":      {symlink("d", victim), chmod("d/secret", 0o4777)},
		"chown in a linked directory":      {symlink("d", victim), chown("d/secret")},
		"utimes in a linked directory":     {symlink("d", victim), utimes("d/secret")},
		"xattr in a linked directory":      {symlink("d", victim), setxattr("d/secret", "user.x")},
		"remove an xattr outside":          {symlink("d", victim), st.Command(14, path("d/secret"), st.Text(13, "user.x"))},
		"write to a device":                {device, write("dev", "owned")},
		"truncate a device":                {device, truncate("dev")},
		"write to a pipe":                  {st.Command(6, path("p")), write("p", "x")},
		"write to a socket":                {st.Command(7, path("p")), write("p", "x")},
		"write to a directory":             {mkdirCmd("d"), write("d", "x")},
		"clone from a device":              {device, mkfile("x"), clone("x", hostileUUID, "dev")},
		"clone from outside by a link":     {symlink("l", secret), mkfile("x"), clone("x", hostileUUID, "l")},
		"clone through a linked directory": {symlink("d", victim), mkfile("x"), clone("x", hostileUUID, "d/secret")},
		"clone through a link of the base": {mkfile("x"), clone("x", baseUUID, "old/secret")},
		"clone of another subvolume":       {mkfile("x"), clone("x", readable, "secret")},
		"clone of another replica":         {mkfile("x"), clone("x", other.Snapshot.GUID, "o")},
		"a node that is a file":            {st.Command(5, path("n"), st.U64(5, unix.S_IFREG|0o4777), st.U64(8, 0))},
		"an access list that is none":      {mkfile("x"), setxattr("x", "system.posix_acl_access")},
		"remove what is not there":         {st.Command(11, path("none"))},
		"make what is there":               {mkfile("f")},
		"beyond the largest file":          {st.Command(15, path("f"), st.U64(18, 1<<63), st.Text(19, "x"))},
		"truncate beyond it":               {st.Command(17, path("f"), st.U64(4, 1<<63))},
		"an owner that means none":         {st.Command(19, path("f"), st.U64(6, 1<<32-1), st.U64(7, 0))},
		"a second subvolume":               {st.Subvol("t", baseUUID)},
		"a climbing path":                  {mkfile("../../victim/x")},
		"an absolute path":                 {mkfile(victim + "/x")},
	} {
		t.Run(name, func(t *testing.T) {
			in := st.Step(hostileUUID, baseUUID, commands...)
			_, err := r.Receive(t.Context(), announced(hostileUUID, baseUUID), bytes.NewReader(in))
			if !errors.Is(err, driver.ErrBadStream) {
				t.Errorf("Receive: %v, want ErrBadStream", err)
			}
			unchanged(t, before, victim)
			unchanged(t, inPlace, place)
		})
	}
	t.Run("what acts on links acts on them alone", func(t *testing.T) {
		in := st.Step(hostileUUID, baseUUID, symlink("l", secret), chown("l"), utimes("l"), setxattr("l", "trusted.x"),
			st.Command(14, path("l"), st.Text(13, "trusted.x")), st.Command(9, path("l"), to("m")), st.Command(10, path("n"), link("m")),
			st.Command(11, path("m")), device, chmod("dev", 0o666), st.Command(11, path("f")))
		if _, err := r.Receive(t.Context(), announced(hostileUUID, baseUUID), bytes.NewReader(in)); err != nil {
			t.Error(err)
		}
		unchanged(t, before, victim)
	})
	if text, err := os.ReadFile(disk); err != nil || !bytes.Equal(text, make([]byte, 1<<20)) {
		t.Errorf("the disk was written to: %v", err)
	}
}

func unchanged(t *testing.T, before []string, dir string) {
	t.Helper()
	after := state(t, dir)
	if slices.Equal(before, after) {
		return
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("now: %s", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("was: %s", line)
		}
	}
}
