//go:build vmtest

package lvm_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// bare is a thin volume without a file system.
func (s *storage) bare(t testing.TB, name string, mbytes int) driver.Dataset {
	t.Helper()
	lv := s.lv(name)
	run(t, "lvcreate", "--config", lean, "-V", mib(mbytes), "--thinpool", s.pool, "-n", lv, s.vg)
	return driver.Dataset{Kind: lvm.Kind, Name: s.vg + "/" + lv}
}

// scribble writes noise of so many bytes to a device.
func (s *storage) scribble(t testing.TB, ds driver.Dataset, seed byte, at, n int64) {
	t.Helper()
	text := make([]byte, n)
	if seed != 0 { // else zeros
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(text)
	}
	f, err := os.OpenFile(s.device(ds), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(text, at)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

// sum is of the first bytes of a volume, as its device reads.
func sum(t testing.TB, lv string, n int64) string {
	t.Helper()
	run(t, "lvchange", "--config", lean, "-ay", "-K", lv)
	defer run(t, "lvchange", "--config", lean, "-an", lv)
	f, err := os.Open("/dev/" + lv)
	must(t, err)
	h := sha256.New()
	got, err := io.Copy(h, io.LimitReader(f, n))
	must(t, errors.Join(err, f.Close()))
	return fmt.Sprintf("%d %x", got, h.Sum(nil))
}

// A replica holds to the byte what its source does, in a pool with larger blocks and extents, whatever was written to, given up, grown
// and cut off meanwhile. Pools that ignore discards are none the worse.
func TestReplicasAreExact(t *testing.T) {
	st := newPool(t, size{disk: 256, data: 128, metadata: 4})
	other := newPool(t, size{disk: 512, data: 256, metadata: 4, chunk: 192}, "--physicalextentsize", "8m")
	d := lvm.New()
	ds := st.bare(t, "exact", 20)
	st.scribble(t, ds, 1, 0, 3<<20)
	st.scribble(t, ds, 2, 8<<20+512, 100_352)
	st.scribble(t, ds, 3, 20<<20-4096, 4096)
	place := into(t, other.vg+"/"+other.pool, lvm.Options{Owner: "exact"})
	var base *driver.Snapshot
	var got []driver.Snapshot
	step := func(what string, mbytes, most int) {
		t.Helper()
		one := sealed(t, d, ds)[0]
		bytesOf := int64(mbytes) << 20
		text := streamOf(t, d, driver.SendRequest{Snapshot: one, Base: base})
		if len(text) > most {
			t.Errorf("%s: the stream has %d bytes, more than %d", what, len(text), most)
		}
		req := driver.ReceiveRequest{Snapshot: one}
		if base != nil {
			req.Base = base.GUID
		}
		replica, err := place.Receive(t.Context(), req, bytes.NewReader(text))
		must(t, err)
		want := sum(t, one.Name, bytesOf)
		if is := sum(t, replica.Name, bytesOf); is != want {
			t.Errorf("%s: the replica is %s, its source %s", what, is, want)
		}
		base, got = &one, append(got, replica)
	}
	step("all of it", 20, 3<<20+120_000)
	st.scribble(t, ds, 4, 4<<20+4096, 4096)
	st.scribble(t, ds, 0, 1<<20, 1<<20)
	run(t, "blkdiscard", "--offset", "8388608", "--length", "1048576", st.device(ds))
	step("4 KiB of a block, zeros, and what was given up", 20, 4096+5000)
	run(t, "lvextend", "--config", lean, "-L", "36m", ds.Name)
	st.scribble(t, ds, 5, 30<<20, 70_000)
	step("grown", 36, 90_000)
	run(t, "lvreduce", "--config", lean, "-y", "-f", "-L", "8m", ds.Name)
	step("cut off", 8, 2000)
	run(t, "lvextend", "--config", lean, "-L", "36m", ds.Name)
	step("grown again", 36, 120_000)

	run(t, "lvchange", "-an", other.vg+"/"+other.pool)
	run(t, "lvchange", "--discards", "ignore", other.vg+"/"+other.pool)
	run(t, "lvchange", "-ay", other.vg+"/"+other.pool)
	base, place = nil, into(t, other.vg+"/"+other.pool, lvm.Options{Owner: "ignoring"})
	for i, one := range listed(t, d, ds)[:2] {
		req, send := driver.ReceiveRequest{Snapshot: one}, driver.SendRequest{Snapshot: one, Base: base}
		if i > 0 {
			req.Base = base.GUID
		}
		replica, err := place.Receive(t.Context(), req, bytes.NewReader(streamOf(t, d, send)))
		must(t, err)
		if want, is := sum(t, one.Name, 20<<20), sum(t, replica.Name, 20<<20); is != want {
			t.Errorf("without discards, %d: the replica is %s, its source %s", i, is, want)
		}
		base = &one
	}
}

// hasRead is how many bytes this process has read so far.
func hasRead(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	must(t, err)
	var n int64
	_, err = fmt.Sscanf(string(text), "rchar: %d", &n)
	must(t, err)
	return n
}

// A volume that grew to 2 TiB, and was cut off again, costs its place no more than what is in it: that much would be read for an hour.
func TestReplicaOfAHugeVolume(t *testing.T) {
	st := newPool(t, size{disk: 256, data: 128, metadata: 8})
	other := newPool(t, size{disk: 256, data: 128, metadata: 8})
	d := lvm.New()
	ds := st.bare(t, "huge", 20)
	st.scribble(t, ds, 1, 8<<20, 1<<20)
	place := into(t, other.vg+"/"+other.pool, lvm.Options{Owner: "huge"})
	var base *driver.Snapshot
	step := func(what string) driver.Snapshot {
		t.Helper()
		one := sealed(t, d, ds)[0]
		req := driver.ReceiveRequest{Snapshot: one}
		if base != nil {
			req.Base = base.GUID
		}
		text := streamOf(t, d, driver.SendRequest{Snapshot: one, Base: base})
		before := hasRead(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		replica, err := place.Receive(ctx, req, bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := hasRead(t) - before; n > 64<<20 {
			t.Errorf("%s: %d bytes were read", what, n)
		}
		base = &one
		if want, is := sum(t, one.Name, 20<<20), sum(t, replica.Name, 20<<20); is != want {
			t.Errorf("%s: the replica is %s, its source %s", what, is, want)
		}
		return replica
	}
	step("all of it")
	const large, last = 2 << 40, 4096
	run(t, "lvextend", "--config", lean, "-L", "2t", ds.Name)
	st.scribble(t, ds, 2, large-last, last)
	grown := step("grown")
	for _, one := range []string{base.Name, grown.Name} {
		if text := tail(t, one, large-last, last); bytes.Equal(text, make([]byte, last)) || !bytes.Equal(text, tail(t, base.Name, large-last, last)) {
			t.Errorf("the end of %s is %x", one, sha256.Sum256(text))
		}
	}
	run(t, "lvreduce", "--config", lean, "-y", "-f", "-L", "20m", ds.Name)
	cut := step("cut off")
	if text := tail(t, cut.Name, large-last, last); !bytes.Equal(text, make([]byte, last)) {
		t.Errorf("the end of %s is %x", cut.Name, sha256.Sum256(text))
	}
}

// tail are some bytes of a volume.
func tail(t testing.TB, lv string, at, n int64) []byte {
	t.Helper()
	run(t, "lvchange", "--config", lean, "-ay", "-K", lv)
	defer run(t, "lvchange", "--config", lean, "-an", lv)
	f, err := os.Open("/dev/" + lv)
	must(t, err)
	text := make([]byte, n)
	_, err = f.ReadAt(text, at)
	must(t, errors.Join(err, f.Close()))
	return text
}

// What does not fit is refused before the pool is full, and removed.
func TestPlaceWithoutRoom(t *testing.T) {
	st := newPool(t, size{disk: 256, data: 128, metadata: 4})
	small := newPool(t, size{disk: 64, data: 32, metadata: 4})
	d := lvm.New()
	ds := st.bare(t, "large", 64)
	st.scribble(t, ds, 1, 0, 40<<20)
	one := sealed(t, d, ds)[0]
	text := streamOf(t, d, driver.SendRequest{Snapshot: one})
	pool := small.vg + "/" + small.pool
	place := into(t, pool, lvm.Options{Owner: "x", Resume: true})
	_, err := place.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(text))
	if !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("Receive: %v", err)
	}
	if lvs := run(t, "lvs", "--noheadings", "-o", "lv_name", small.vg); strings.TrimSpace(lvs) != small.pool {
		t.Errorf("left: %q", lvs)
	}
	t.Logf("afterwards it is %s %% full: %v", field(t, pool, "data_percent"), err)

	run(t, "lvchange", "--zero", "n", pool)
	_, err = place.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(text))
	if !errors.Is(err, driver.ErrNotSupported) || !strings.Contains(err.Error(), "--zero y") {
		t.Errorf("Receive where new blocks are not zeroed: %v", err)
	}
	for _, none := range []string{ds.Name, small.vg + "/none"} {
		if _, err := into(t, none, lvm.Options{Owner: "x"}).Snapshots(t.Context()); !errors.Is(err, driver.ErrNotSupported) {
			t.Errorf("a place in %s: %v", none, err)
		}
	}
	if _, err := into(t, "no-such-group/pool", lvm.Options{Owner: "x"}).Snapshots(t.Context()); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("a place in no group: %v", err)
	}
}

// A metadata snapshot that a killed process of ours left is released; another program's is left alone.
func TestMetadataSnapshotOfAnother(t *testing.T) {
	st := newPool(t, size{disk: 128, data: 64, metadata: 4})
	d := lvm.New()
	ds := st.bare(t, "v", 16)
	st.scribble(t, ds, 1, 0, 8192)
	one := sealed(t, d, ds)[0]
	device := strings.ReplaceAll(st.vg, "-", "--") + "-" + strings.ReplaceAll(st.pool, "-", "--") + "-tpool"
	held := func() bool { return strings.Fields(run(t, "dmsetup", "status", device))[6] != "-" }
	run(t, "dmsetup", "message", device, "0", "reserve_metadata_snap")
	var out bytes.Buffer
	err := d.Send(t.Context(), driver.SendRequest{Snapshot: one}, &out)
	if !errors.Is(err, driver.ErrBusy) || !strings.Contains(err.Error(), "release_metadata_snap") || out.Len() > 0 || !held() {
		t.Errorf("Send: %v, %d bytes, held %t", err, out.Len(), held())
	}
	run(t, "lvchange", "--addtag", "volsnap-metadata-snapshot", st.vg+"/"+st.pool)
	streamOf(t, d, driver.SendRequest{Snapshot: one})
	if held() || field(t, st.vg+"/"+st.pool, "lv_tags") != "" {
		t.Errorf("afterwards: held %t, tags %q", held(), field(t, st.vg+"/"+st.pool, "lv_tags"))
	}
	if active := field(t, one.Name, "lv_active"); active != "" {
		t.Errorf("the snapshot is %q", active)
	}
}

// A long transfer goes on after a kill from where its tags say, and XFS is mounted at the place.
func TestKilledReceiveGoesOn(t *testing.T) {
	st := replicaStorage{newPool(t, size{disk: 1024, data: 700, metadata: 8})}
	d := lvm.New()
	ds := st.volume(t, "long", 300, "xfs")
	text := make([]byte, 80<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(text)
	must(t, os.WriteFile(st.Path(ds, "noise"), text, 0o600))
	one := sealed(t, d, ds)[0]
	open := st.Place(t)
	all := streamOf(t, d, driver.SendRequest{Snapshot: one})
	req := driver.ReceiveRequest{Snapshot: one}
	st.KillReceive(t, open, req, all, len(all)-3)
	r := open()
	left, err := r.Partials(t.Context())
	must(t, err)
	if len(left) != 1 || left[0].GUID != one.GUID || left[0].Bytes < 64<<20 {
		t.Fatalf("kept: %+v", left)
	}
	req.Resume = left[0].Token
	rest := streamOf(t, d, driver.SendRequest{Snapshot: one, Resume: req.Resume})
	if int64(len(rest))+left[0].Bytes > int64(len(all))+4096 {
		t.Errorf("%d bytes were kept, and %d of %d sent", left[0].Bytes, len(rest), len(all))
	}
	begun := time.Now()
	got, err := r.Receive(t.Context(), req, bytes.NewReader(rest))
	must(t, err)
	t.Logf("%d of %d bytes received in %s", len(rest), len(all), time.Since(begun))
	at := t.TempDir()
	unmount, err := r.Mount(t.Context(), got, at)
	must(t, err)
	is, err := os.ReadFile(filepath.Join(at, "noise"))
	if err != nil || !bytes.Equal(is, text) {
		t.Errorf("the file has %d bytes, %v", len(is), err)
	}
	must(t, unmount(t.Context()))
}
