//go:build vmtest

package zfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

const asUser = "VOLSNAP_ZFS_AS_USER" // the dataset and its mount point, a line each: what this binary, started again by a test, is to work on

// TestMain can also be the process that tests start as somebody else, or kill.
func TestMain(m *testing.M) {
	for at, what := range map[string]func(string) error{
		receiveInto: receive, swapThis: swapIt, destroyThis: destroyIt, keepInto: func(place string) error { return keep(context.Background(), place) },
	} {
		if place := os.Getenv(at); place != "" {
			if err := what(place); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	if what := os.Getenv(asUser); what != "" {
		ds, at, _ := strings.Cut(what, "\n")
		if err := work(context.Background(), driver.Dataset{Kind: zfs.Kind, Name: ds}, at); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work is all that somebody who is not root can do.
func work(ctx context.Context, ds driver.Dataset, at string) error {
	d := zfs.New()
	place, err := d.Resolve(ctx, at)
	if err != nil {
		return err
	}
	for _, f := range place.Findings {
		fmt.Printf("%s: %s (%s)\n", f.Level, f.What, f.Mend)
	}
	req := driver.Request{Set: "ccn-20261121T020000.123Z", Of: 1, Items: []driver.Item{{Dataset: ds, Member: 1}}}
	g, err := d.Prepare(ctx, req)
	if err != nil {
		return err
	}
	made, err := driver.Take(ctx, g)
	if errors.Is(err, fs.ErrPermission) {
		fmt.Println("take: not permitted")
		return nil
	}
	if err != nil {
		return err
	}
	err = errors.Join(d.Seal(ctx, "atomic", made...), d.Pin(ctx, made[0], "x"), d.Unpin(ctx, made[0], "x"))
	got, err2 := d.Snapshots(ctx, ds)
	if err := errors.Join(err, err2); err != nil || len(got) != 1 || !got[0].Sealed {
		return fmt.Errorf("listed %+v: %w", got, err)
	}
	_, err = d.Space(ctx, ds)
	return errors.Join(err, d.Unseal(ctx, made...), d.Destroy(ctx, made...))
}

func TestDelegatedUser(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	top, err := os.MkdirTemp("/mnt", "volsnap") // where nobody can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	ds := create(t, pool+"/a b", "-o", "mountpoint="+top+"/v")
	t.Cleanup(func() { _ = exec.Command("zfs", "destroy", "-r", ds.Name).Run() })
	nobody := func() string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asUser+"="+ds.Name+"\n"+top+"/v")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("as nobody: %v: %s", err, out)
		}
		return string(out)
	}
	want := "error: the user nobody is not root and has no right on " + ds.Name + " to: clone,destroy,hold,mount,release,snapshot,userprop"
	if got := nobody(); !strings.Contains(got, want) || !strings.Contains(got, "take: not permitted") {
		t.Errorf("without rights: %s", got)
	}
	do(t, "zfs", "allow", "-u", "nobody", "clone,destroy,hold,mount", ds.Name)
	if got := nobody(); !strings.Contains(got, "to: release,snapshot,userprop (as root: zfs allow -u nobody release,snapshot,userprop ") {
		t.Errorf("with some: %s", got)
	}
	do(t, "zfs", "allow", "-u", "nobody", "release,snapshot,userprop", ds.Name)
	if got := nobody(); got != "" {
		t.Errorf("with all: %s", got)
	}
}

// TestDelegatedAsBefore: what was delegated of a dataset is delegated of what is swapped into its place.
func TestDelegatedAsBefore(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	d := zfs.New()
	ds := create(t, pool+"/a b")
	sets := sealedSets(t, d, ds, top+"/a b", 2)
	do(t, "zfs", "allow", "-u", "daemon", "create,mount", pool)
	for _, one := range [][]string{
		{"-s", "@some", "clone,destroy,mount"},
		{"-s", "@more", "@some,hold"},
		{"-c", "destroy,snapshot"},
		{"-u", "nobody", "@more,release,userprop"},
		{"-l", "-u", "nobody", "snapshot"},
		{"-d", "-u", "nobody", "send"},
		{"-u", "54321", "hold"},
		{"-g", "daemon", "send"},
		{"-g", "54321", "send"},
		{"-e", "diff"},
	} {
		do(t, append(append([]string{"zfs", "allow"}, one...), ds.Name)...)
	}
	before := do(t, "zfs", "allow", ds.Name)
	was := identityOf(t, d, ds)
	st, err := d.Stage(t.Context(), sets[0], "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if after := do(t, "zfs", "allow", ds.Name); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	do(t, "zfs", "unallow", "-u", "nobody", ds.Name)
	do(t, "zfs", "allow", "-u", "nobody", "hold,release", ds.Name)
	before = do(t, "zfs", "allow", ds.Name)
	if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
		t.Fatal(err)
	}
	if after := do(t, "zfs", "allow", ds.Name); after != before {
		t.Errorf("it was\n%s\nand is, back,\n%s", before, after)
	}
}
