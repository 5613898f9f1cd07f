package drill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/snapset"
)

// checkSet holds the set against its manifest. Only one that is what it says is drilled.
func (t *trial) checkSet() (bool, error) {
	var faults []string
	if !t.set.Complete {
		faults = append(faults, t.set.Manifest.Faults...)
	}
	recorded, err := t.src.Records.Read(t.set.ID)
	switch {
	case err != nil:
		faults = append(faults, err.Error())
	case recorded != nil:
		faults = append(faults, differences(recorded.Members, t.set.Manifest.Members)...)
	}
	if len(faults) > 0 {
		t.fail("set", "%s", strings.Join(faults, "; "))
		return false, nil
	}
	said := "as its manifest says"
	if recorded == nil {
		said = "its manifest is lost, so the snapshots' own records alone speak for it"
	}
	t.pass("set", "%d volumes in %d snapshots, %s; %s", len(t.set.Manifest.Members), len(t.set.Snapshots), t.set.Manifest.Consistency, said)
	return true, nil
}

// differences are what a manifest says of the volumes, and the snapshots do not.
func differences(recorded, found []snapset.Member) (faults []string) {
	same := func(a, b snapset.Member) bool { return a.Volume == b.Volume && a.GUID == b.GUID && a.Path == b.Path }
	for _, r := range recorded {
		if !slices.ContainsFunc(found, func(f snapset.Member) bool { return same(r, f) }) {
			faults = append(faults, fmt.Sprintf("the manifest has volume %s at %q in the snapshot with GUID %q, and no snapshot says so", r.Volume, r.Path, r.GUID))
		}
	}
	for _, f := range found {
		if !slices.ContainsFunc(recorded, func(r snapset.Member) bool { return same(r, f) }) {
			faults = append(faults, fmt.Sprintf("%s holds volume %s at %q, and the manifest does not say so", f.Snapshot, f.Volume, f.Path))
		}
	}
	return faults
}
