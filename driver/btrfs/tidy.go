package btrfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// tidy removes what killed processes left anywhere in the place.
func (a *arrival) tidy() error {
	again, err := openDirIn(a.home, ".")
	if err != nil {
		return err
	}
	defer closeAll(again)
	names, err := again.Readdirnames(-1)
	for _, name := range names {
		if err != nil {
			break
		}
		if !keyPattern.MatchString(name) || name == filepath.Base(a.key.Name()) {
			continue
		}
		var k *keyDir
		if k, err = openKey(a.home, name, ""); k != nil {
			err = errors.Join(sweepReplicas(k.dir), a.removeEmpty(a.home, k.dir))
			closeAll(k.dir)
		}
	}
	return err
}

// sweepReplicas removes what killed processes left in a directory of replicas: subvolumes that were being received, what was
// kept of streams whose replica is there, and then records without a snapshot. It does nothing while another process receives
// there. The store is locked.
func sweepReplicas(dir *os.File) error {
	alone, err := tryLock(dir, unix.LOCK_EX)
	if err != nil || !alone {
		return err
	}
	again, err := openDirIn(dir, ".")
	if err != nil {
		return err
	}
	defer closeAll(again)
	names, err := again.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, stagingPrefix) {
			continue
		}
		if err := errors.Join(removeArrived(dir, name, names), destroyStaging(dir, name)); err != nil {
			return err
		}
	}
	return sweep(dir)
}

// removeArrived removes a spool whose replica is among the names: its process was killed between the two, and nobody will ask
// for it.
func removeArrived(dir *os.File, name string, names []string) error {
	replica, isSpool := strings.CutSuffix(strings.TrimPrefix(name, stagingPrefix), spoolExt)
	if !isSpool || !slices.Contains(names, replica) {
		return nil
	}
	if _, err := driver.ParseName(replica); err != nil {
		return nil
	}
	return remove(dir, name)
}

// destroyStaging destroys a subvolume that was being received; what else has such a name is left alone.
func destroyStaging(dir *os.File, name string) error {
	if _, err := driver.ParseName(strings.TrimPrefix(name, stagingPrefix)); err != nil {
		return nil
	}
	top, err := openDirIn(dir, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeAll(top)
	var st unix.Stat_t
	if err := unix.Fstat(int(top.Fd()), &st); err != nil || st.Ino != firstFree {
		return err
	}
	info, err := infoOf(top)
	if err != nil {
		return err
	}
	return destroySubvol(dir, info.id)
}
