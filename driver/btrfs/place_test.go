package btrfs_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dennwc "github.com/dennwc/btrfs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	st "github.com/volsnap/volsnap/driver/btrfs/internal/streamtest"
	"github.com/volsnap/volsnap/internal/testhost"
)

func TestIntoRefuses(t *testing.T) {
	top := testhost.Btrfs(t, 128<<20)
	mkdir(t, top, ".volsnap")
	mkdir(t, top, ".volsnap", "in")
	good, open, owned := mkdir(t, top, "good"), mkdir(t, top, "open"), mkdir(t, top, "owned")
	bound := mkdir(t, top, "bound")
	err := errors.Join(os.Chmod(open, 0o777), os.Chown(owned, 1000, 1000), os.Symlink(good, filepath.Join(top, "link")),
		os.WriteFile(filepath.Join(top, "file"), nil, 0o600), unix.Mount(filepath.Join(top, ".volsnap"), bound, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]error{
		"":                         driver.ErrNotSupported,
		"relative":                 driver.ErrNotSupported,
		good + "/":                 driver.ErrNotSupported,
		good + "/../good":          driver.ErrNotSupported,
		top + "/.volsnap":          driver.ErrNotSupported,
		top + "/.volsnap/in":       driver.ErrNotSupported,
		bound:                      driver.ErrNotSupported,
		filepath.Join(bound, "in"): driver.ErrNotSupported,
		top + "/link":              driver.ErrNotSupported,
		t.TempDir():                driver.ErrNotSupported,
		top + "/none":              driver.ErrNotFound,
		top + "/file":              unix.ENOTDIR,
		open:                       driver.ErrForeign,
		owned:                      driver.ErrForeign,
	} {
		if _, err := btrfs.Into(dir, btrfs.Options{}); !errors.Is(err, want) {
			t.Errorf("Into(%q): %v, want %v", dir, err, want)
		}
	}
	for _, dir := range []string{good, top} {
		if _, err := btrfs.Into(dir, btrfs.Options{}); err != nil {
			t.Errorf("Into(%s): %v", dir, err)
		}
	}
}

// TestPlaceAtTheTopOfAMount has the host's snapshots and replicas of them side by side.
func TestPlaceAtTheTopOfAMount(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d, r := dataset(t, top, "d"), btrfs.New(), into(t, top)
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	got, err := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(send(t, d, driver.SendRequest{Snapshot: one})))
	if err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(mustList(t, d), func(s driver.Snapshot) bool { return !strings.HasPrefix(s.Name, top+"/") })
	if len(all) != 1 || all[0].Name != one.Name {
		t.Errorf("the host has %+v", all)
	}
	here, err := r.Snapshots(t.Context())
	if err != nil || len(here) != 1 || here[0].Name != got.Name {
		t.Errorf("the place has %+v, %v", here, err)
	}
	moved := one
	moved.Name = got.Name
	if err := d.Destroy(t.Context(), moved); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("Destroy: %v, want ErrForeign", err)
	}
	if err := errors.Join(d.Destroy(t.Context(), one), r.Destroy(t.Context(), got)); err != nil {
		t.Error(err)
	}
}

// TestRecordsOfTheOtherRealm swaps a store and a directory of replicas: what the other wrote counts for nothing.
func TestRecordsOfTheOtherRealm(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	r := into(t, mkdir(t, top, "place"))
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	got, err := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(send(t, d, driver.SendRequest{Snapshot: one})))
	if err != nil {
		t.Fatal(err)
	}
	hostKey, placeKey := filepath.Dir(one.Name), filepath.Dir(got.Name)
	if err := errors.Join(os.Rename(hostKey, hostKey+".x"), os.Rename(placeKey, hostKey), os.Rename(hostKey+".x", placeKey)); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(list(t, d, ds), mustList(t, r)...) {
		if s.Fault == "" {
			t.Errorf("listed %+v", s)
		}
	}
	if err := errors.Join(d.Destroy(t.Context(), one), r.Destroy(t.Context(), got)); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("Destroy: %v, want ErrForeign", err)
	}
	if !isSubvolume(one.Name) || !isSubvolume(got.Name) {
		t.Error("one was destroyed")
	}
}

func mustList(t testing.TB, l driver.Lister, ds ...driver.Dataset) []driver.Snapshot {
	t.Helper()
	got, err := l.Snapshots(t.Context(), ds...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// names are what lies in a place, and in the directories in it.
func names(t testing.TB, place string) []string {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(place, "*"))
	inside, err2 := filepath.Glob(filepath.Join(place, "*", "*"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return append(keys, inside...)
}

// TestRemainsAreRemoved: the next process that receives removes what a killed one left, of whatever dataset.
func TestRemainsAreRemoved(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	place := mkdir(t, top, "place")
	if _, err := into(t, place).Receive(t.Context(), announced(hostileUUID, ""), bytes.NewReader(st.Stream(hostileUUID))); err != nil {
		t.Fatal(err)
	}
	other := announced(baseUUID, "")
	other.Snapshot.Dataset.Name = "/srv/other"
	unknown := other
	unknown.Base = "2f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	if _, err := into(t, place).Receive(t.Context(), unknown, strings.NewReader("")); !errors.Is(err, driver.ErrNotFound) {
		t.Fatal(err)
	}
	kept := names(t, place)
	if len(kept) != 3 { // a directory, a replica, its record
		t.Errorf("there is %q", kept)
	}
	key := filepath.Dir(mustList(t, into(t, place))[0].Name)
	left := "volsnap-ccn-20261121T030000.123Z"
	if err := os.WriteFile(filepath.Join(key, left+".json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, subvolume(t, filepath.Join(key, "receiving-"+left)), "half")
	arrived := filepath.Base(mustList(t, into(t, place))[0].Name)
	touch(t, key, "receiving-"+arrived+".spool") // it was killed between the replica and its removal
	broken := touch(t, key, "receiving-"+left+".spool")
	mine := mkdir(t, key, "receiving-volsnap-ccn-20261121T040000.123Z")
	subvolume(t, filepath.Join(key, "receiving-mine"))
	if got := mustList(t, into(t, place)); len(got) != 1 {
		t.Errorf("listed %+v", got)
	}
	if _, err := into(t, place).Receive(t.Context(), other, strings.NewReader("bad")); !errors.Is(err, driver.ErrBadStream) {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(mine), os.Remove(broken), dennwc.DeleteSubVolume(filepath.Join(key, "receiving-mine"))); err != nil {
		t.Errorf("what is not ours, or can go on, is gone: %v", err)
	}
	if diff := cmp.Diff(kept, names(t, place)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// TestFullPlace: a stream that the file system has no room for is ErrNoSpace, and leaves nothing. It never ends by itself.
func TestFullPlace(t *testing.T) {
	top := testhost.Btrfs(t, 128<<20)
	r := into(t, mkdir(t, top, "place"))
	first, err := r.Receive(t.Context(), announced(baseUUID, ""), bytes.NewReader(st.Stream(baseUUID, mkfile("f"))))
	if err != nil {
		t.Fatal(err)
	}
	kept := names(t, r.Dir())
	for name, in := range map[string]io.Reader{
		"endless data": io.MultiReader(
			bytes.NewReader(append(append(st.Header(1), st.Snapshot("s", hostileUUID, baseUUID)...), mkfile("big")...)), &endless{}),
		"a huge allocation": bytes.NewReader(append(append(append(st.Header(2), st.Snapshot("s", hostileUUID, baseUUID)...),
			st.Command(23, path("f"), st.U32(25, 0), st.U64(18, 0), st.U64(4, 1<<50))...), st.End()...)),
	} {
		_, err := r.Receive(t.Context(), announced(hostileUUID, baseUUID), in)
		if !errors.Is(err, driver.ErrNoSpace) {
			t.Errorf("%s: %v, want ErrNoSpace", name, err)
		}
		if got := mustList(t, r); len(got) != 1 || got[0].GUID != first.GUID || !slices.Equal(names(t, r.Dir()), kept) {
			t.Errorf("%s: left %q", name, names(t, r.Dir()))
		}
	}
	progs(t, "filesystem", "sync", top)
	progs(t, "subvolume", "sync", top)
	step := st.Step(hostileUUID, baseUUID, write("f", "there is room again"))
	if _, err := r.Receive(t.Context(), announced(hostileUUID, baseUUID), bytes.NewReader(step)); err != nil {
		t.Error(err)
	}
}

// endless is a stream of writes of noise.
type endless struct {
	left   []byte
	offset uint64
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.left) == 0 {
		data := make([]byte, 32<<10)
		_, _ = rand.NewChaCha8([32]byte{byte(e.offset >> 15), byte(e.offset >> 23)}).Read(data)
		e.left = st.Command(15, path("big"), st.U64(18, e.offset), st.Attr{Number: 19, Value: data})
		e.offset += uint64(len(data))
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

// TestCompressedExtentsStayCompressed sends files that Btrfs has compressed in each way.
func TestCompressedExtentsStayCompressed(t *testing.T) {
	from := testhost.Btrfs(t, 512<<20)
	ds, d := dataset(t, from, "d"), btrfs.New()
	text := bytes.Repeat([]byte("what can be compressed "), 40_000)
	for _, how := range []string{"zlib", "lzo", "zstd", "none"} {
		file := touch(t, ds.Name, how)
		progs(t, "property", "set", file, "compression", how)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	f, err := os.OpenFile(filepath.Join(ds.Name, "zstd"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("changed"), 100_001); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	two := takeAndSeal(t, d, requestOf(t, 2, ds))[0]
	to := testhost.Btrfs(t, 512<<20)
	r := into(t, mkdir(t, to, "place"))
	plain := send(t, d, driver.SendRequest{Snapshot: one})
	full := send(t, d, driver.SendRequest{Snapshot: one, Formats: r.Formats()})
	if len(r.Formats()) == 0 || len(full) > len(plain)*2/3 {
		t.Errorf("formats %v: %d bytes, %d without them", r.Formats(), len(full), len(plain))
	}
	if _, err := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(full)); err != nil {
		t.Fatal(err)
	}
	step := send(t, d, driver.SendRequest{Snapshot: two, Base: &one, Formats: append(r.Formats(), "of the future")})
	got, err := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: two, Base: one.GUID}, bytes.NewReader(step))
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"zlib", "lzo", "zstd", "none"} {
		want, err := os.ReadFile(filepath.Join(two.Name, how))
		have, err2 := os.ReadFile(filepath.Join(got.Name, how))
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(want, have) {
			t.Errorf("%s: %d bytes, want %d; %v", how, len(have), len(want), err)
		}
	}
	// Where files have no checksums the kernel takes nothing that is compressed.
	if err := os.Remove(filepath.Join(ds.Name, "lzo")); err != nil {
		t.Fatal(err)
	}
	three := takeAndSeal(t, d, requestOf(t, 3, ds))[0]
	full = send(t, d, driver.SendRequest{Snapshot: three, Formats: r.Formats()})
	noSums := into(t, mkdir(t, to, "no checksums"))
	if err := unix.Mount("", to, "", unix.MS_REMOUNT, "nodatacow"); err != nil {
		t.Fatal(err)
	}
	if got := noSums.Formats(); len(got) > 0 {
		t.Errorf("without checksums it reads %q", got)
	}
	if got, err = noSums.Receive(t.Context(), driver.ReceiveRequest{Snapshot: three}, bytes.NewReader(full)); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"zlib", "zstd"} {
		want, err := os.ReadFile(filepath.Join(three.Name, how))
		have, err2 := os.ReadFile(filepath.Join(got.Name, how))
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(want, have) {
			t.Errorf("%s, decompressed: %d bytes, want %d; %v", how, len(have), len(want), err)
		}
	}
}
