//go:build !vmtest

package killtest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

// TestClockBehindNewestSet is I8. The clock of this host cannot be set for a test, so the newest set is made to look as one
// that was taken while the clock was ahead: under another id, which is all that tells its time.
func TestClockBehindNewestSet(t *testing.T) {
	a := newApp(t, newHost(t), "future")
	a.history(t)
	sets := a.list(t)
	old := string(sets[len(sets)-1].ID)
	ahead := a.name + "-20990101T000000.000Z"
	a.storage.rename(t, a, old, ahead)
	renameFiles(t, filepath.Join(a.state, "sets", a.name), old, ahead)
	p := a.volsnap(t, "", "run", a.name)
	if p.status(t) != 1 || !strings.Contains(p.stderr(), "the clock says") {
		t.Errorf("exit status %d, want 1 and the clock:\n%s", p.status(t), p.stderr())
	}
	after := a.list(t)
	if len(complete(after)) != len(sets)+1 { // the new one, and nothing was removed
		t.Errorf("%d complete sets, want %d: %+v", len(complete(after)), len(sets)+1, after)
	}
	if newest := after[len(after)-1].ID; newest != driver.SetID(ahead) {
		t.Errorf("the newest set is %s", newest)
	}
	for _, s := range after {
		checkWhole(t, s, a.storage.things(t))
	}
	a.checkForeign(t, a.storage.things(t))
	a.checkNothingHeld(t)
}
