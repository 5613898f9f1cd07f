//go:build vmtest

package lvm_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// swapWhat is the variable that makes this program swap two volumes and nothing else: what to swap, as JSON.
const swapWhat = "VOLSNAP_TEST_SWAP"

type swapping struct {
	Dataset, Stage driver.Dataset
	GUID           string
}

func swap(text string) error {
	var what swapping
	if err := json.Unmarshal([]byte(text), &what); err != nil {
		return err
	}
	return lvm.New().Swap(context.Background(), what.Dataset, what.Stage, what.GUID)
}

// A volume that is swapped is mounted as before: at each place, what of it, and how. One that is in use stays.
func TestSwapMountsAgain(t *testing.T) {
	st := newPool(t, size{disk: 2048, data: 1024, metadata: 8})
	d := lvm.New()
	ds := st.volume(t, "mounted", 320, "xfs")
	at := st.Path(ds, ".")
	must(t, os.MkdirAll(filepath.Join(at, "a b"), 0o755))
	st.Write(t, ds, "a b/f", "old")
	run(t, "lvchange", "--config", lean, "--addtag", "theirs", ds.Name)
	one := sealed(t, d, ds)[0]
	st.Write(t, ds, "a b/f", "new")
	bound := filepath.Join(t.TempDir(), "bound here")
	must(t, os.Mkdir(bound, 0o755))
	run(t, "mount", "-o", "remount,noatime,nodev", at)
	run(t, "mount", "--bind", "-o", "ro,nosuid", filepath.Join(at, "a b"), bound)
	defer run(t, "umount", bound)
	how := func() string {
		return run(t, "findmnt", "-rn", "-o", "TARGET,FSROOT,OPTIONS,SOURCE", "--mountpoint", at) + "\n" +
			run(t, "findmnt", "-rn", "-o", "TARGET,FSROOT,OPTIONS,SOURCE", "--mountpoint", bound)
	}
	before := how()
	was, err := d.Identity(t.Context(), ds)
	must(t, err)
	stage, err := d.Stage(t.Context(), one, "again")
	must(t, err)

	f, err := os.Open(filepath.Join(bound, "f"))
	must(t, err)
	if err := d.Swap(t.Context(), ds, stage.Dataset, stage.GUID); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("in use: %v, want ErrBusy", err)
	}
	must(t, f.Close())
	if now := how(); now != before {
		t.Errorf("in use: mounted as\n%s\nnot as\n%s", now, before)
	}
	must(t, d.Swap(t.Context(), ds, stage.Dataset, stage.GUID))
	if now := how(); now != before {
		t.Errorf("mounted as\n%s\nnot as\n%s", now, before)
	}
	for _, file := range []string{filepath.Join(at, "a b", "f"), filepath.Join(bound, "f")} {
		if text, err := os.ReadFile(file); err != nil || string(text) != "old" {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	if tags := field(t, ds.Name, "lv_tags"); !strings.Contains(tags, "theirs") || strings.Contains(tags, "mounts") {
		t.Errorf("tags %s", tags)
	}
	must(t, d.Discard(t.Context(), driver.Stage{Dataset: stage.Dataset, GUID: was}, nil))
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != one.GUID {
		t.Errorf("listed %+v", got)
	}
	must(t, d.Unseal(t.Context(), one))
	must(t, d.Destroy(t.Context(), one))
}
