package lvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// Mount implements driver.Driver. The snapshot is activated and mounted read-only, without devices, setuid and execution.
// No journal is replayed: nothing is written to the snapshot. One that was taken while its file system was mounted needs
// none for its files, see the package comment; what a crash of the host left in the origin's journal before is not seen.
func (k kept) Mount(
	ctx context.Context, s driver.Snapshot, dir string,
) (unmount func(context.Context) error, err error) {
	var f found
	err = k.withSnapshot(ctx, s, func(it found) error {
		f = it
		if err := empty(dir); err != nil {
			return err
		}
		return f.activate(ctx, dir)
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", s.Name, dir, classify(err))
	}
	var mu sync.Mutex
	mounted, active := true, true
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if mounted {
			if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w", dir, classify(err))
			}
			mounted = false
		}
		if active {
			if err := f.deactivateAlone(ctx); err != nil {
				return fmt.Errorf("deactivate %s: %w", s.Name, err)
			}
			active = false
		}
		return nil
	}, nil
}

// Unmounted implements driver.Unmounter: the device goes.
func (k kept) Unmounted(ctx context.Context, s driver.Snapshot) error {
	if err := k.withSnapshot(ctx, s, func(f found) error { return f.deactivate(ctx) }); err != nil {
		return fmt.Errorf("deactivate %s: %w", s.Name, classify(err))
	}
	return nil
}

// deactivateAlone is deactivate, but not while somebody has activated the snapshot and is about to open it.
func (f found) deactivateAlone(ctx context.Context) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f.deactivate(ctx)
}

func empty(dir string) error {
	at, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	in, err := at.Readdirnames(1)
	switch {
	case len(in) > 0:
		err = fmt.Errorf("the directory is not empty: %w", driver.ErrExists)
	case errors.Is(err, io.EOF):
		err = nil
	}
	return errors.Join(err, at.Close())
}

// activate makes the device of a snapshot, and mounts it.
func (f found) activate(ctx context.Context, dir string) error {
	args := []string{"lvchange", "-y", "--activate", "y", "--ignoreactivationskip", "--select", byUUID(f), f.VG}
	if err := change(ctx, args...); err != nil {
		return err
	}
	err := f.mount(ctx, dir)
	if err != nil {
		err = errors.Join(err, f.deactivate(context.WithoutCancel(ctx)))
	}
	return err
}

// deactivate removes the device, unless somebody else has it open, who may then do that.
func (f found) deactivate(ctx context.Context) error {
	err := change(ctx, "lvchange", "-y", "--activate", "n", "--select", byUUID(f), f.VG)
	if errors.Is(err, driver.ErrBusy) {
		return nil
	}
	return err
}

func (f found) mount(ctx context.Context, dir string) error {
	device, err := f.device(ctx)
	if err != nil {
		return err
	}
	kind, err := fileSystem(device)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount(device, dir, kind.name, flags, kind.options); err != nil {
		return &os.PathError{Op: "mount " + kind.name, Path: device, Err: err}
	}
	return nil
}

// device is the path of the active device of the volume, and of no other.
func (f found) device(ctx context.Context) (string, error) {
	text, err := ask(ctx, "lvs", "--reportformat", "json", "-o", "lv_dm_path", "--select", byUUID(f), f.VG)
	if err != nil {
		return "", err
	}
	rows, err := parseReport[map[string]string](text)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 {
		return "", driver.ErrNotFound
	}
	at := rows[0]["lv_dm_path"]
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: at, Err: err}
	}
	uuid, err := deviceUUID(fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	if err != nil {
		return "", err
	}
	if uuid != uuidPrefix+plain(f.VGUUID)+plain(f.UUID) {
		return "", fmt.Errorf("%s is the device %s: %w", at, uuid, driver.ErrForeign)
	}
	return at, nil
}

// deviceUUID is what the device mapper calls the device with that number; empty if it is no device of its.
func deviceUUID(number string) (string, error) {
	text, err := os.ReadFile(filepath.Join("/sys/dev/block", number, "dm/uuid"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// fsKind is a file system that this driver knows to be frozen and mounted as a snapshot.
type fsKind struct{ name, options string }

// known file systems, with what mounts them without writing: ext4(5) noload, xfs(5) norecovery. XFS refuses a second file
// system of the same UUID; whoever mounts a clone of one beside its origin needs nouuid too.
var known = map[string]fsKind{
	"ext4": {"ext4", "noload"},
	"ext3": {"ext4", "noload"}, // whose driver mounts both
	"xfs":  {"xfs", "nouuid,norecovery"},
}

// superblocks is how much of a device has those of ext4 and XFS.
const superblocks = 4096

// elsewhere says what of a file system lies on another device, and so would not be in a snapshot; empty if all of it is on
// this one. head is the device's beginning: ext4 has s_journal_dev in its superblock at 1024 (ext4(5), "Superblock" in the
// kernel's documentation); XFS has sb_logstart, 0 for an external log, and sb_rblocks (xfs_db(8), sb).
func elsewhere(head []byte) string {
	const ext = 1024
	switch {
	case len(head) < superblocks:
		return ""
	case bytes.HasPrefix(head, []byte("XFSB")):
		if binary.BigEndian.Uint64(head[48:]) == 0 {
			return "its log"
		}
		if binary.BigEndian.Uint64(head[16:]) != 0 {
			return "its real-time section"
		}
	case bytes.Equal(head[ext+0x38:ext+0x3a], []byte{0x53, 0xef}):
		if binary.LittleEndian.Uint32(head[ext+0xe4:]) != 0 {
			return "its journal"
		}
	}
	return ""
}

// fileSystem looks at the superblock: magic numbers of XFS at 0, of ext4 at 1024+56.
func fileSystem(device string) (fsKind, error) {
	f, err := os.Open(device)
	if err != nil {
		return fsKind{}, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, superblocks)
	if _, err := f.ReadAt(head, 0); err != nil {
		return fsKind{}, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("XFSB")):
		return known["xfs"], nil
	case bytes.Equal(head[1080:1082], []byte{0x53, 0xef}):
		return known["ext4"], nil
	}
	return fsKind{}, fmt.Errorf("%s holds neither ext4 nor XFS: %w", device, driver.ErrNotSupported)
}
