package zfs

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

const maxName = 255 // ZFS_MAX_DATASET_NAME_LEN without the zero byte

// A dataset's name as zfs-create(8) allows it. It cannot be read as an option, a snapshot, or several.
var datasetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.: -]*(/[A-Za-z0-9_.: -]+)*$`)

func checkName(name string) error {
	if len(name) > maxName || !datasetName.MatchString(name) {
		return fmt.Errorf("%q is no name of a ZFS dataset: %w", name, driver.ErrNotFound)
	}
	return nil
}

func checkDataset(ds driver.Dataset) error {
	if ds.Kind != Kind {
		return fmt.Errorf("%s: %w", ds, driver.ErrNotSupported)
	}
	return checkName(ds.Name)
}

// checkAsked is ErrForeign for what no snapshot of ours is called.
func checkAsked(s driver.Snapshot) error {
	_, err := driver.ParseSetID(string(s.Set))
	at := liesIn(s)
	if at != s.Dataset.Name && !couldBeBeside(at, s.Dataset.Name) {
		at = ""
	}
	if err != nil || checkDataset(s.Dataset) != nil || checkName(at) != nil || s.Name != snapshotName(at, s.Set) {
		return fmt.Errorf("it is not where a snapshot of volsnap would be: %w", driver.ErrForeign)
	}
	return nil
}

func snapshotName(dataset string, set driver.SetID) string { return dataset + "@" + set.SnapshotName() }

func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	pool, _, _ = strings.Cut(pool, "@")
	return pool
}
