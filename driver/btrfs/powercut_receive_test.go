package btrfs_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

// TestPowerCutAfterReceive copies the disk right after each step, and looks at the copy as after a power cut.
func TestPowerCutAfterReceive(t *testing.T) {
	d, one := noisy(t, testhost.Btrfs(t, 256<<20))
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	want, err := os.ReadFile(filepath.Join(one.Name, "noise"))
	if err != nil {
		t.Fatal(err)
	}
	top := testhost.Btrfs(t, 256<<20)
	place := mkdir(t, top, "place")
	r := into(t, place)
	if err := syncFS(top); err != nil {
		t.Fatal(err)
	}
	var disks []string
	cut := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		disk := filepath.Join(filepath.Dir(top), "disk"+string(rune('a'+len(disks))))
		cp := exec.Command("cp", "--sparse=always", filepath.Join(filepath.Dir(top), "image"), disk)
		if out, err := cp.CombinedOutput(); err != nil {
			t.Fatalf("copy the disk: %v: %s", err, out)
		}
		disks = append(disks, disk)
	}
	_, err = r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(stream[:len(stream)-1]))
	if !errors.Is(err, driver.ErrBadStream) {
		t.Fatal(err)
	}
	cut(nil)
	got, err := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(stream))
	cut(err)
	cut(r.Seal(t.Context(), "frozen", got))
	cut(r.Unseal(t.Context(), got))
	cut(r.Destroy(t.Context(), got))
	if err := unix.Unmount(top, 0); err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct {
		step          string
		there, sealed bool
	}{{"a broken Receive", false, false}, {"Receive", true, false}, {"Seal", true, true}, {"Unseal", true, false}, {"Destroy", false, false}} {
		t.Run(tc.step, func(t *testing.T) {
			mountAt(t, disks[i], top, "loop")
			here := mustList(t, into(t, place))
			if (len(here) == 1) != tc.there {
				t.Fatalf("listed %+v", here)
			}
			if tc.there {
				text, err := os.ReadFile(filepath.Join(here[0].Name, "noise"))
				if err != nil || !bytes.Equal(text, want) || here[0].Sealed != tc.sealed || here[0].Fault != "" {
					t.Errorf("%+v, %v", here[0], err)
				}
			} else if _, err := into(t, place).Receive(t.Context(), driver.ReceiveRequest{Snapshot: one}, bytes.NewReader(stream)); err != nil {
				t.Errorf("the next Receive: %v", err)
			}
			if err := unix.Unmount(top, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}
