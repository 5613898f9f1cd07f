package lvm

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

func finding(level driver.Level, mend, what string, args ...any) driver.Finding {
	return driver.Finding{Level: level, What: fmt.Sprintf(what, args...), Mend: mend}
}

// findings are about the path and its volume.
func (at *located) findings() []driver.Finding {
	var out []driver.Finding
	if !at.lv.thin() {
		out = append(out, finding(driver.Error, thickMend(at.lv), "%s is a %s volume, not a thin one", at.lv, at.lv.Segment))
	}
	if at.lv.Suspended == suspended {
		out = append(out, finding(driver.Error, "if no command of LVM is running, resume it: dmsetup resume "+
			deviceName(at.lv.VG, at.lv.Name), "the device of %s is suspended: its writers wait", at.lv))
	}
	if _, ok := known[at.via.FS]; !ok {
		out = append(out, finding(driver.Error, "move it to ext4 or XFS",
			"%s is a file system of type %s, of which nobody knows that its snapshots can be mounted", at.via.Point, at.via.FS))
	}
	out = append(out, at.parts()...)
	for _, m := range at.under() {
		out = append(out, finding(driver.Error, "name that path as a volume of its own, or unmount it",
			"another file system is mounted at %s: it would not be in the snapshot", quote(m.Point)))
	}
	if at.rel != "." {
		out = append(out, finding(driver.Note, "", "snapshots are of all of %s, of which this is %s", at.lv, quote(at.rel)))
	}
	return out
}

// under are the mounts on other file systems below the path, that can be reached.
func (at *located) under() []mountinfo.Mount {
	var out []mountinfo.Mount
	for _, m := range at.all {
		rel, in := mountinfo.Below(at.real, m.Point)
		if in && rel != "." && m.Dev != at.via.Dev && m.Reachable() {
			out = append(out, m)
		}
	}
	return out
}

// parts looks for what of the file system lies on another device.
func (at *located) parts() []driver.Finding {
	head := make([]byte, superblocks)
	f, err := os.Open("/dev/block/" + at.via.Dev)
	if err == nil {
		_, err = f.ReadAt(head, 0)
		_ = f.Close() // it was read only
	}
	if err != nil {
		return []driver.Finding{finding(driver.Warning, "run as root", "whether all of the file system lies on %s cannot be seen: %v", at.lv, err)}
	}
	part := elsewhere(head)
	if part == "" {
		return nil
	}
	return []driver.Finding{finding(driver.Error, "make the file system anew with all of it on one volume",
		"%s lies on another device: it would not be in the snapshot of %s", part, at.lv)}
}

// thickMend says how a volume becomes a thin one. lvconvert(8) cannot do that in place.
func thickMend(v lv) string {
	return fmt.Sprintf("make a thin pool and a thin volume (lvcreate --type thin-pool -L SIZE -n POOL %s; "+
		"lvcreate -V SIZE --thinpool POOL -n NAME %s), stop the writers, copy the files, and mount it in the old one's place", v.VG, v.VG)
}

// poolFindings are about the thin pool of a volume.
func poolFindings(ctx context.Context, v lv) ([]driver.Finding, error) {
	p, err := readPool(ctx, v.VG, v.Pool)
	if err != nil {
		return nil, err
	}
	if p.virtual, err = virtualSize(ctx, v); err != nil {
		return nil, err
	}
	out := p.findings(v.VG + "/" + v.Pool)
	if _, err := command.LookPath(deltaProgram); err != nil {
		out = append(out, finding(driver.Note, "install "+deltaPackage, "%s is not installed: snapshots of %s cannot be replicated", deltaProgram, v))
	}
	return out, nil
}

func (p pool) findings(name string) []driver.Finding {
	var out []driver.Finding
	if err := p.roomy(); err != nil {
		out = append(out, finding(driver.Error, p.mend(name), "thin pool %s: %v", name, err))
	} else if p.data > p.dataLimit()-poolMargin || p.metadata > p.metadataLimit()-poolMargin {
		out = append(out, finding(driver.Warning, p.mend(name),
			"thin pool %s: data is %.0f %% full, metadata %.0f %%; no set is taken from %.4g %% and %.4g %% on",
			name, p.data, p.metadata, p.dataLimit(), p.metadataLimit()))
	}
	if p.virtual > p.size && p.extendAt >= 100 {
		out = append(out, finding(driver.Warning,
			"set activation/thin_pool_autoextend_threshold in /etc/lvm/lvm.conf to 70, keep dmeventd running and space in the volume group",
			"thin pool %s has %d bytes for volumes of %d bytes, and is not extended by itself", name, p.size, p.virtual))
	}
	switch p.whenFull {
	case "queue":
		out = append(out, finding(driver.Note, "", "when thin pool %s is full, writes wait for 60 s, and then fail", name))
	case "error":
		out = append(out, finding(driver.Note, "", "when thin pool %s is full, writes fail at once", name))
	}
	if p.groupFree < p.groupSize/10 { // of which LVM can use a half, since it writes the new before it gives up the old
		out = append(out, finding(driver.Warning,
			"keep fewer snapshots, or make the volume group anew with a larger area (pvcreate --metadatasize)",
			"the metadata area of the volume group of %s has only %d bytes left: it holds names and tags of all snapshots",
			name, p.groupFree))
	}
	return out
}

// mend of a pool that is too full.
func (p pool) mend(name string) string {
	if p.metadata-p.metadataLimit() > p.data-p.dataLimit() {
		return "lvextend --poolmetadatasize +SIZE " + name + ", or keep fewer snapshots"
	}
	return "lvextend -L +SIZE " + name + ", or keep fewer snapshots"
}

// virtualSize is what the volumes of a pool could hold. Snapshots of ours do not grow by themselves.
func virtualSize(ctx context.Context, v lv) (uint64, error) {
	text, err := ask(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_name,lv_size,lv_permissions", "--select", "pool_lv="+v.Pool, v.VG)
	if err != nil {
		return 0, err
	}
	rows, err := parseReport[map[string]string](text)
	if err != nil {
		return 0, err
	}
	sum := uint64(0)
	for _, row := range slices.DeleteFunc(rows, func(r map[string]string) bool { return r["lv_permissions"] == "read-only" }) {
		size, err := strconv.ParseUint(row["lv_size"], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("size of %s: %w", row["lv_name"], err)
		}
		sum += size
	}
	return sum, nil
}

// quote quotes a name if it could be misread.
func quote(name string) string {
	if q := strconv.Quote(name); strings.Contains(name, " ") || q != `"`+name+`"` {
		return q
	}
	return name
}
