package lvm

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// namePattern is what lvm(8) allows as name of a volume group or logical volume.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,126}$`)

func validName(s string) bool { return namePattern.MatchString(s) && s != "." && s != ".." }

// split takes "vg/lv" apart.
func split(name string) (vg, lv string, err error) {
	vg, lv, ok := strings.Cut(name, "/")
	if !ok || !validName(vg) || !validName(lv) {
		return "", "", fmt.Errorf("%q is no name VG/LV: %w", name, driver.ErrForeign)
	}
	return vg, lv, nil
}

// snapshotName is the name of the snapshot of an origin, see the package comment.
func snapshotName(set driver.SetID, origin string) string {
	return set.SnapshotName() + "." + short(origin)
}

// parseSnapshotName is the inverse of snapshotName.
func parseSnapshotName(lv string) (set driver.SetID, origin string, err error) {
	at := strings.LastIndexByte(lv, '.')
	if at < 0 {
		return "", "", fmt.Errorf("%q: %w", lv, driver.ErrForeign)
	}
	set, err = driver.ParseName(lv[:at])
	return set, lv[at+1:], err
}

// short is the first group of a UUID, which LVM makes from A-Z, a-z and 0-9.
func short(uuid string) string {
	first, _, _ := strings.Cut(uuid, "-")
	return first
}

var uuidPattern = regexp.MustCompile(`^[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}$`)

func validUUID(s string) bool { return uuidPattern.MatchString(s) }

// plain is a UUID as the device mapper writes it.
func plain(uuid string) string { return strings.ReplaceAll(uuid, "-", "") }

// maxDeviceName is how long the name of a device can be: DM_NAME_LEN of linux/dm-ioctl.h counts the final zero.
const maxDeviceName = 127

// deviceName is what LVM calls the device of a volume: dashes are doubled.
func deviceName(vg, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(vg) + "-" + double(lv)
}
