//go:build vmtest

package zfs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// TestFiftyDatasetsAreOneInstant, and none of them waits for a command of its own while the writers are frozen.
func TestFiftyDatasetsAreOneInstant(t *testing.T) {
	pool, _ := newPool(t, 1<<30)
	var all []driver.Dataset
	for i := range 50 {
		all = append(all, create(t, fmt.Sprintf("%s/pyaleph volume %d", pool, i)))
	}
	d := zfs.New()
	took := func(what string, do func()) {
		begun := time.Now()
		do()
		t.Logf("%s: %s", what, time.Since(begun).Round(time.Millisecond))
	}
	var made []driver.Snapshot
	for n, count := range []int{3, 50} {
		took(fmt.Sprintf("prepare %d", count), func() {
			g, err := d.Prepare(t.Context(), requestOf(t, n, all[:count]...))
			if err != nil {
				t.Fatal(err)
			}
			took(fmt.Sprintf("take %d", count), func() {
				if made, err = driver.Take(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			})
		})
		for _, s := range made {
			if s.Order != made[0].Order {
				t.Errorf("%s: transaction group %d, not %d", s.Name, s.Order, made[0].Order)
			}
		}
		took(fmt.Sprintf("seal %d", count), func() {
			if err := d.Seal(t.Context(), "atomic", made...); err != nil {
				t.Fatal(err)
			}
		})
	}
	bare := []string{"snapshot", "-o", "x:y=z"}
	var names []string
	for _, ds := range all {
		bare, names = append(bare, ds.Name+"@bare"), append(names, ds.Name+"@bare")
	}
	took("zfs snapshot of 50, bare", func() { do(t, append([]string{"zfs"}, bare...)...) })
	took("zfs list of 50, guid", func() { do(t, append([]string{"zfs", "list", "-Hp", "-o", "name,guid,createtxg"}, names...)...) })
	took("list 53", func() {
		got := listed(t, d, all...)
		if len(got) != 53 {
			t.Errorf("%d are listed", len(got))
		}
		for _, s := range got {
			if !s.Sealed || s.Fault != "" {
				t.Errorf("%+v", s)
			}
		}
	})
	took("zfs list -t snapshot of the pool", func() {
		do(t, "zfs", "list", "-Hp", "-t", "snapshot", "-o", "name,guid,createtxg,creation,userrefs", "-r", pool)
	})
	took("pin", func() {
		if err := d.Pin(t.Context(), made[7], "x"); err != nil {
			t.Fatal(err)
		}
	})
	took("unpin", func() {
		if err := d.Unpin(t.Context(), made[7], "x"); err != nil {
			t.Fatal(err)
		}
	})
	took("unseal 50", func() {
		if err := d.Unseal(t.Context(), made...); err != nil {
			t.Fatal(err)
		}
	})
	took("destroy 50", func() {
		if err := d.Destroy(t.Context(), made...); err != nil {
			t.Fatal(err)
		}
	})
	if got := listed(t, d, all...); len(got) != 3 {
		t.Errorf("%d are left", len(got))
	}
}

// TestManyOfOneDatasetGoTogether: one command for a batch.
func TestManyOfOneDatasetGoTogether(t *testing.T) {
	pool, _ := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	var made []driver.Snapshot
	for n := range 55 { // more than a batch
		made = append(made, take(t, d, requestOf(t, n, ds))...)
	}
	to := driver.Dataset{Kind: zfs.Kind, Name: pool + "/clone"}
	if err := d.Clone(t.Context(), made[20], to); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	err := d.Destroy(t.Context(), made...)
	t.Logf("%s: %v", time.Since(begun), err)
	if got := listed(t, d, ds); err == nil || len(got) != 1 || got[0].GUID != made[20].GUID {
		t.Errorf("%d are left, %v", len(got), err)
	}
}
