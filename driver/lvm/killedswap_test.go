//go:build vmtest && faultpoints

package lvm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// TestSwapKilledAtEachPoint kills a swap at one point after the other. The snapshot is listed as before all the time, and the next swap
// comes to its end, in the one direction or the other, with the volume mounted where it was.
func TestSwapKilledAtEachPoint(t *testing.T) {
	st := newPool(t, size{disk: 512, data: 256, metadata: 8})
	d := lvm.New()
	ds := st.Dataset(t, "killed")
	st.Write(t, ds, "f", "old")
	one := sealed(t, d, ds)[0]
	st.Write(t, ds, "f", "new")
	was, err := d.Identity(t.Context(), ds)
	must(t, err)
	stage, err := d.Stage(t.Context(), one, "killed")
	must(t, err)
	to := func(guid, content string) {
		t.Helper()
		must(t, d.Swap(t.Context(), ds, stage.Dataset, guid))
		run(t, "mountpoint", "-q", st.point(ds))
		text, err := os.ReadFile(st.Path(ds, "f"))
		if err != nil || string(text) != content {
			t.Errorf("it holds %q, %v", text, err)
		}
		if is, err := d.Identity(t.Context(), ds); err != nil || is != guid {
			t.Errorf("it is %s, %v", is, err)
		}
	}
	for n := 1; ; n++ {
		text, err := json.Marshal(swapping{ds, stage.Dataset, stage.GUID})
		must(t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), swapWhat+"="+string(text), fmt.Sprintf("VOLSNAP_FAULT=kill@%d", n))
		cmd.Stderr = os.Stderr
		killed := cmd.Run() != nil
		if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != one.GUID || got[0].Fault != "" {
			t.Errorf("killed at point %d: listed %+v", n, got)
		}
		if both := bootActivates(t, st, was, stage.GUID); len(both) > 1 {
			t.Errorf("killed at point %d: a boot would activate %q", n, both)
		}
		if n%2 == 0 || !killed {
			to(stage.GUID, "old")
		}
		to(was, "new")
		if t.Failed() || !killed {
			t.Logf("killed at %d points", n-1)
			break
		}
	}
	if is := bootActivates(t, st, was, stage.GUID); len(is) != 1 || is[0] != was {
		t.Errorf("a boot activates %q, and not %s", is, was)
	}
	must(t, d.Discard(t.Context(), driver.Stage{Dataset: stage.Dataset, GUID: stage.GUID}, nil))
}

// bootActivates are those of some volumes that are activated with their group.
func bootActivates(t *testing.T, st *storage, uuids ...string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, "lvs", "--noheadings", "--separator", "|", "-o", "lv_uuid,lv_skip_activation", st.vg) + "\n") {
		uuid, skipped, _ := strings.Cut(strings.TrimSpace(line), "|")
		if slices.Contains(uuids, uuid) && skipped == "" {
			out = append(out, uuid)
		}
	}
	return out
}
