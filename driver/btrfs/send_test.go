package btrfs_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	dennwc "github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// TestSendOfWhatWasOnceReceived: all snapshots of such a subvolume would say that they are the same one.
func TestSendOfWhatWasOnceReceived(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := driver.Dataset{Kind: btrfs.Kind, Name: receivedWritable(t, top)}, btrfs.New()
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	var out bytes.Buffer
	err := d.Send(t.Context(), driver.SendRequest{Snapshot: one}, &out)
	if !errors.Is(err, driver.ErrNotSupported) || out.Len() > 0 {
		t.Errorf("Send: %v, %d bytes; want ErrNotSupported", err, out.Len())
	}
	clone := driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(top, "clone")} // the way out
	if err := d.Clone(t.Context(), one, clone); err != nil {
		t.Fatal(err)
	}
	two := takeAndSeal(t, d, requestOf(t, 2, clone))[0]
	if err := d.Send(t.Context(), driver.SendRequest{Snapshot: two}, io.Discard); err != nil {
		t.Error(err)
	}
}

// TestDestroyWhileSomebodySends: what an operator, or a child of a killed run, is sending is busy too.
func TestDestroyWhileSomebodySends(t *testing.T) {
	d, one := noisy(t, testhost.Btrfs(t, 256<<20))
	cmd := exec.Command("btrfs", "send", "-q", one.Name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1<<20)); err != nil { // and then its pipe is full
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), one); !errors.Is(err, driver.ErrBusy) || !isSubvolume(one.Name) {
		t.Errorf("Destroy: %v, want ErrBusy", err)
	}
	_, err = io.Copy(io.Discard, out)
	if err := errors.Join(err, cmd.Wait(), d.Destroy(t.Context(), one)); err != nil {
		t.Error(err)
	}
}

// TestSendFromAnOddMount sends below a mount point with spaces, after the dataset itself is gone.
func TestSendFromAnOddMount(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d, one := noisy(t, top)
	two := takeAndSeal(t, d, requestOf(t, 2, one.Dataset))[0]
	if err := errors.Join(dennwc.DeleteSubVolume(one.Dataset.Name), unix.Unmount(top, 0)); err != nil {
		t.Fatal(err)
	}
	at := mkdir(t, filepath.Dir(top), "a mount\tpoint \\ of 'mine'")
	mountAt(t, filepath.Join(filepath.Dir(top), "image"), at, "loop")
	all := mustList(t, d, driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(at, "d")})
	if len(all) != 2 || all[0].GUID != one.GUID || all[1].GUID != two.GUID {
		t.Fatalf("listed %+v", all)
	}
	r := into(t, mkdir(t, at, "a place"))
	for _, req := range []driver.SendRequest{{Snapshot: all[0]}, {Snapshot: all[1], Base: &all[0]}} {
		announced := driver.ReceiveRequest{Snapshot: req.Snapshot}
		if req.Base != nil {
			announced.Base = req.Base.GUID
		}
		if _, err := r.Receive(t.Context(), announced, bytes.NewReader(send(t, d, req))); err != nil {
			t.Fatal(err)
		}
	}
}
