//go:build vmtest

package zfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// keepInto is the place in which this binary, started again as somebody who is not root, does all that a backup server does.
const keepInto = "VOLSNAP_TEST_KEEP_INTO"

// rightsOfReplicas are those that docs/replication.md names.
const rightsOfReplicas = "canmount,create,destroy,devices,exec,hold,mount,mountpoint,overlay,readonly,receive,release,send,setuid," +
	"sharenfs,sharesmb,snapdir,userprop"

// delivery is what somebody who is not root is to receive.
type delivery struct {
	Request driver.ReceiveRequest
	Stream  string // a file
}

// keep receives two replicas, the second half and then the rest, and does everything with them that there is to be done.
func keep(ctx context.Context, place string) error {
	var all []delivery
	if err := json.Unmarshal([]byte(os.Getenv(receiveWhat)), &all); err != nil {
		return err
	}
	r, err := zfs.Into(place)
	if err != nil {
		return err
	}
	var got []driver.Snapshot
	for _, one := range all {
		stream, err := os.ReadFile(one.Stream)
		if err != nil {
			return err
		}
		if _, err := r.Receive(ctx, one.Request, bytes.NewReader(stream[:len(stream)/2])); !errors.Is(err, driver.ErrBadStream) {
			return fmt.Errorf("half a stream: %w", err)
		}
		here, err := r.Receive(ctx, one.Request, bytes.NewReader(stream))
		if err != nil {
			return err
		}
		got = append(got, here)
	}
	var out bytes.Buffer
	if err := errors.Join(
		r.Seal(ctx, "atomic", got...), r.Pin(ctx, got[0], "x"), r.Unpin(ctx, got[0], "x"),
		r.Send(ctx, driver.SendRequest{Snapshot: got[1], Base: &got[0]}, &out),
		r.Unseal(ctx, got...), r.Destroy(ctx, got...),
	); err != nil {
		return err
	}
	left, err := r.Snapshots(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left: %+v", left)
	}
	return err
}

// TestReplicasOfSomebodyElse: a user with the rights that are documented, and no other, keeps replicas.
func TestReplicasOfSomebodyElse(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	noise(t, top+"/a", 4<<20)
	sets := sealedSets(t, d, ds, top+"/a", 2)
	dir, err := os.MkdirTemp("/mnt", "volsnap") // where everybody can read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var all []delivery
	for i, one := range sets {
		var base *driver.Snapshot
		if i > 0 {
			base = &sets[i-1]
		}
		file := fmt.Sprint(dir, "/", i)
		stream := send(t, d, driver.SendRequest{Snapshot: one, Base: base})
		if err := errors.Join(os.WriteFile(file, stream, 0o644), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		all = append(all, delivery{announce(one, base), file})
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	place := newPlace(t, pool, "place")
	nobody := func() string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), keepInto+"="+place, receiveWhat+"="+string(text))
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return fmt.Sprintf("%v: %s", err, out)
	}
	before := everything(t, place)
	do(t, "zfs", "allow", "-u", "nobody", strings.Replace(rightsOfReplicas, ",exec,", ",", 1), place)
	if got := nobody(); !strings.Contains(got, "zfs allow -u nobody exec "+place) {
		t.Errorf("without one: %s", got)
	}
	if everything(t, place) != before {
		t.Error("without one: the place has changed")
	}
	do(t, "zfs", "allow", "-u", "nobody", "exec", place)
	if got := nobody(); got != "<nil>: " {
		t.Errorf("with all: %s", got)
	}
	if everything(t, place) != before {
		t.Errorf("left: %s", everything(t, place))
	}
}
