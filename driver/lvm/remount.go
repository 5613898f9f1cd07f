package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// mountPoint is where and how a volume is mounted. Names are short: it is kept in tags.
type mountPoint struct {
	At      string   `json:"at"`
	Root    string   `json:"root"` // what of it is mounted
	FS      string   `json:"fs"`
	Mount   []string `json:"m"` // options of the mount, as the kernel writes them
	Options []string `json:"o"` // and of the file system
}

// mountRecord is the mounts of a volume. As of a snapshot, a field that a later version adds needs a new version.
type mountRecord struct {
	Version int          `json:"v"`
	Mounts  []mountPoint `json:"mounts"`
}

const mountRecordVersion = 1

func (r mountRecord) check() error {
	if r.Version != mountRecordVersion {
		return fmt.Errorf("version %d, not %d", r.Version, mountRecordVersion)
	}
	for _, m := range r.Mounts {
		if _, known := known[m.FS]; !known || !strings.HasPrefix(m.At, "/") || !strings.HasPrefix(m.Root, "/") {
			return fmt.Errorf("%q of a %q at %q", m.Root, m.FS, m.At)
		}
		if _, err := m.attributes(); err != nil {
			return err
		}
	}
	return nil
}

func isMountTag(tag string) bool { return strings.HasPrefix(tag, mountsPrefix) }

// mountTags are mounts as tags.
func mountTags(these []mountPoint) ([]string, error) {
	r := mountRecord{Version: mountRecordVersion, Mounts: these}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("its mounts cannot be noted: %w: %w", driver.ErrNotSupported, err)
	}
	if len(these) == 0 {
		return nil, nil
	}
	tags, err := inParts(mountsPrefix, r)
	if err != nil {
		return nil, fmt.Errorf("%d mounts cannot be noted: %w: %w", len(these), driver.ErrNotSupported, err)
	}
	return tags, nil
}

// recordedMounts is the inverse of mountTags.
func recordedMounts(tags []string) ([]mountPoint, error) {
	if !slices.ContainsFunc(tags, isMountTag) {
		return nil, nil
	}
	text, err := joinParts(mountsPrefix, tags)
	if err != nil {
		return nil, err
	}
	r, err := decode[mountRecord](text)
	return r.Mounts, err
}

// together are the mounts of both, each once.
func together(a, b []mountPoint) []mountPoint {
	out := slices.Clone(a)
	for _, m := range b {
		if !slices.ContainsFunc(out, func(o mountPoint) bool { return o.At == m.At && o.Root == m.Root }) {
			out = append(out, m)
		}
	}
	return out
}

// pointsOf are mounts as they can be noted and made again. ErrNotSupported: one of them cannot.
func pointsOf(all []mountinfo.Mount) ([]mountPoint, error) {
	var out []mountPoint
	for _, m := range all {
		one := mountPoint{At: m.Point, Root: m.Root, FS: m.FS}
		one.Mount, one.Options = parted(m.Options)
		if _, err := one.attributes(); err != nil {
			return nil, err
		}
		if strings.HasSuffix(m.Root, "//deleted") || !text(m.Point+m.Root) {
			return nil, fmt.Errorf("its mount of %q at %q could not be made again: unmount it: %w", m.Root, m.Point, driver.ErrNotSupported)
		}
		out = append(out, one)
	}
	return out, nil
}

// parted parts the options of a mount from those of its file system. Both begin with whether it is read-only (fs/proc_namespace.c,
// show_mountinfo).
func parted(options []string) (mount, fs []string) {
	for i := 1; i < len(options); i++ {
		if options[i] == "rw" || options[i] == "ro" {
			return slices.Clone(options[:i]), slices.Clone(options[i:])
		}
	}
	return slices.Clone(options), nil
}

var mountAttributes = map[string]int{
	"rw": 0, "ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV, "noexec": unix.MOUNT_ATTR_NOEXEC,
	"noatime": unix.MOUNT_ATTR_NOATIME, "nodiratime": unix.MOUNT_ATTR_NODIRATIME, "relatime": unix.MOUNT_ATTR_RELATIME,
	"nosymfollow": unix.MOUNT_ATTR_NOSYMFOLLOW,
}

// attributes are the options of the mount as fsmount(2) takes them.
func (m mountPoint) attributes() (int, error) {
	out := 0
	for _, option := range m.Mount {
		is, known := mountAttributes[option]
		if !known {
			return 0, fmt.Errorf("its mount at %s has the option %q, with which it could not be mounted again: unmount it: %w",
				m.At, option, driver.ErrNotSupported)
		}
		out |= is
	}
	if !slices.Contains(m.Mount, "noatime") && !slices.Contains(m.Mount, "relatime") {
		out |= unix.MOUNT_ATTR_STRICTATIME
	}
	return out, nil
}

// unmountAll unmounts a volume everywhere in this mount namespace, and where that is passed on to.
func unmountAll(v lv) error {
	all, err := v.mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(all) {
		if !m.Reachable() {
			return fmt.Errorf("something is mounted over %s, or over a directory above it: %w", m.Point, driver.ErrBusy)
		}
		if err := unix.Unmount(m.Point, unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "unmount", Path: m.Point, Err: classify(err)}
		}
	}
	return nil
}

// mountAgain mounts an active volume where it is not mounted yet.
func mountAgain(ctx context.Context, f found, these []mountPoint) error {
	for _, m := range these {
		now, err := f.mounts()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(now, func(o mountinfo.Mount) bool { return o.Point == m.At && o.Root == m.Root }) {
			continue
		}
		if err := f.mountAt(ctx, m, now); err != nil {
			return fmt.Errorf("mount %s of %s at %s again: %w", m.Root, f, m.At, err)
		}
	}
	return nil
}

func (f found) mountAt(ctx context.Context, m mountPoint, now []mountinfo.Mount) error {
	device, err := f.device(ctx)
	if err != nil {
		return err
	}
	attributes, err := m.attributes()
	if err != nil {
		return err
	}
	whole, err := mountDevice(device, m.FS, access{mount: attributes, options: tried(ctx, device, m)})
	if err != nil {
		return err
	}
	defer func() { _ = whole.close() }()
	if m.Root == "/" {
		return whole.put(m.At)
	}
	part, err := partIn(whole, m, now)
	if err != nil {
		return err
	}
	defer func() { _ = part.close() }()
	return part.put(m.At)
}

// partIn is a mount of a directory or file of a file system. It has to be seen somewhere for that: where it is mounted, or for a
// moment in a directory of our own.
func partIn(whole detached, m mountPoint, now []mountinfo.Mount) (part detached, err error) {
	at := slices.IndexFunc(now, func(o mountinfo.Mount) bool { return o.Root == "/" && o.Reachable() })
	if at >= 0 {
		return partBelow(now[at].Point, m)
	}
	dir, err := os.MkdirTemp("", "volsnap-")
	if err != nil {
		return part, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := whole.put(dir); err != nil {
		return part, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }()
	return partBelow(dir, m)
}

func partBelow(top string, m mountPoint) (detached, error) {
	dir, err := os.Open(top)
	if err != nil {
		return detached{}, err
	}
	defer func() { _ = dir.Close() }()
	fd, err := unix.Openat2(int(dir.Fd()), strings.TrimPrefix(m.Root, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return detached{}, &os.PathError{Op: "open", Path: top + m.Root, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return detached{}, &os.PathError{Op: "open_tree", Path: top + m.Root, Err: err}
	}
	out := detached{os.NewFile(uintptr(tree), top+m.Root)}
	attributes, err := m.attributes()
	if err == nil {
		err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
			Attr_set: uint64(attributes), Attr_clr: everyAttribute&^uint64(attributes) | unix.MOUNT_ATTR__ATIME,
		})
	}
	if err != nil {
		return detached{}, errors.Join(err, out.close())
	}
	return out, nil
}

const everyAttribute = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME |
	unix.MOUNT_ATTR_NOSYMFOLLOW

// tried are the options of the file system that the kernel takes: it shows some that it does not take.
func tried(ctx context.Context, device string, m mountPoint) []string {
	fd, err := unix.Fsopen(m.FS, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return m.Options
	}
	defer func() { _ = unix.Close(fd) }()
	var out []string
	for _, option := range m.Options {
		if option == "rw" {
			continue
		}
		name, value, has := strings.Cut(option, "=")
		if has {
			err = unix.FsconfigSetString(fd, name, value)
		} else {
			err = unix.FsconfigSetFlag(fd, name)
		}
		if err != nil {
			zerolog.Ctx(ctx).Warn().Str("device", device).Str("at", m.At).Str("option", option).Err(err).Msg("mounting without an option that was shown")
			continue
		}
		out = append(out, option)
	}
	return out
}
