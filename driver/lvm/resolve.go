package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Resolve implements driver.Taker. The path may lead through symbolic links, and to a directory or a file. What is not on
// the device mapper costs no process.
func (d *Driver) Resolve(ctx context.Context, path string) (driver.Place, error) {
	p, err := resolve(ctx, path)
	if err != nil {
		return driver.Place{}, fmt.Errorf("resolve %s: %w", path, classify(err))
	}
	return p, nil
}

// located is where a path lies.
type located struct {
	real string // the path without symbolic links
	via  mountinfo.Mount
	all  []mountinfo.Mount
	rel  string // inside the file system
	lv   lv
}

func resolve(ctx context.Context, path string) (driver.Place, error) {
	if err := ctx.Err(); err != nil {
		return driver.Place{}, err
	}
	at, err := locate(path)
	if err != nil {
		return driver.Place{}, err
	}
	uuid, err := logicalVolume(at.via.Dev)
	if err != nil {
		return driver.Place{}, err
	}
	if at.lv, err = volumeOf(ctx, uuid); err != nil {
		return driver.Place{}, err
	}
	findings := at.findings()
	if at.lv.thin() {
		of, err := poolFindings(ctx, at.lv)
		if err != nil {
			return driver.Place{}, err
		}
		findings = append(findings, of...)
	}
	return driver.Place{
		Dataset: driver.Dataset{Kind: Kind, Name: at.lv.String()}, Path: at.rel,
		Pool: at.lv.VG + "/" + cmp.Or(at.lv.Pool, at.lv.Name), Findings: findings,
	}, nil
}

// locate finds the file system.
func locate(path string) (*located, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("is no absolute path: %w", driver.ErrNotSupported)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: real, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return nil, fmt.Errorf("is neither a directory nor a file: %w", driver.ErrNotSupported)
	}
	at := &located{real: real}
	if at.all, err = mountinfo.Read(); err != nil {
		return nil, err
	}
	via, inside, err := mountinfo.Containing(at.all, real)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(via.Root, "//deleted") {
		return nil, fmt.Errorf("what is mounted there was deleted: %w", driver.ErrNotFound)
	}
	at.via = via
	at.rel, _ = mountinfo.Below("/", inside)
	return at, nil
}

// logicalVolume is the UUID of the logical volume that is the device with that number.
func logicalVolume(number string) (string, error) {
	uuid, err := deviceUUID(number)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(uuid, uuidPrefix)
	if !ok {
		if on := beneath(filepath.Join("/sys/dev/block", number), maxStack); on != "" {
			return "", fmt.Errorf("its device %s is stacked on the logical volume %s, of which a snapshot would be no file system; "+
				"put the encryption, RAID or partition below LVM: %w", cmp.Or(uuid, number), on, driver.ErrNotSupported)
		}
		return "", fmt.Errorf("its device is no logical volume: %w", driver.ErrNotSupported)
	}
	if len(rest) != 64 {
		return "", fmt.Errorf("its device %s is part of a logical volume: %w", uuid, driver.ErrNotSupported)
	}
	return dashed(rest[32:]), nil
}

// dashed is the UUID as LVM writes it: 6-4-4-4-4-4-6.
func dashed(s string) string {
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// maxStack is how deep devices are looked for below one another.
const maxStack = 8

// beneath is the name of a logical volume below a device in sysfs, or empty.
func beneath(dir string, depth int) string {
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil || depth == 0 {
		if part, err := os.Stat(filepath.Join(dir, "partition")); err == nil && part != nil && depth > 0 {
			if parent, err := filepath.EvalSymlinks(dir); err == nil {
				return beneath(filepath.Dir(parent), depth-1)
			}
		}
		return ""
	}
	for _, s := range slaves {
		at := filepath.Join(dir, "slaves", s.Name())
		if uuid, err := os.ReadFile(filepath.Join(at, "dm/uuid")); err == nil && strings.HasPrefix(string(uuid), uuidPrefix) {
			name, err := os.ReadFile(filepath.Join(at, "dm/name"))
			if err == nil {
				return strings.TrimSpace(string(name))
			}
		}
		if on := beneath(at, depth-1); on != "" {
			return on
		}
	}
	return ""
}

// volumeOf finds the volume with that UUID in whatever group it is.
func volumeOf(ctx context.Context, uuid string) (lv, error) {
	if !validUUID(uuid) {
		return lv{}, fmt.Errorf("%q is no UUID of a logical volume: %w", uuid, driver.ErrNotSupported)
	}
	text, err := ask(ctx, append(report(fields), "--select", "lv_uuid="+uuid)...)
	if err != nil {
		return lv{}, err
	}
	rows, err := parseReport[lv](text)
	if err != nil {
		return lv{}, err
	}
	if len(rows) == 0 {
		return lv{}, fmt.Errorf("LVM does not know the logical volume %s: %w", uuid, driver.ErrNotFound)
	}
	return rows[0], errors.Join(whole(rows))
}
