package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Settle implements driver.Stager. What LVM does not take in a name becomes "_". After a boot the volume is active, and mounted if
// fstab(5) says so: that line is logged.
func (k kept) Settle(ctx context.Context, st driver.Stage, name, at string) (driver.Dataset, error) {
	to := driver.Dataset{Kind: Kind}
	err := withStage(ctx, st, func(f found, all []lv) error {
		lv := strangeInName.ReplaceAllString(name, "_")
		to.Name = f.VG + "/" + lv
		return f.settleAs(ctx, all, lv, at)
	})
	if err != nil {
		return to, fmt.Errorf("settle %s at %s: %w", st.Dataset, at, classify(err))
	}
	return to, nil
}

var strangeInName = regexp.MustCompile(`[^A-Za-z0-9_+.-]`)

func (f found) settleAs(ctx context.Context, all []lv, name, at string) error {
	if !filepath.IsAbs(at) || filepath.Clean(at) != at || at == "/" {
		return fmt.Errorf("no clean absolute path: %w", driver.ErrNotSupported)
	}
	if !validName(name) || strings.HasPrefix(name, "volsnap-") || len(deviceName(f.VG, name)) > maxDeviceName {
		return fmt.Errorf("%q can be no name of a volume in %s: %w", name, f.VG, driver.ErrNotSupported)
	}
	if v, there := named(all, name); there {
		return fmt.Errorf("%s: %w", v, driver.ErrExists)
	}
	if _, err := os.Lstat(at); err == nil {
		return fmt.Errorf("%s: %w", at, driver.ErrExists)
	}
	kind, err := f.tryOut(ctx)
	if err != nil {
		return err
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := f.become(ctx, name, at); err != nil {
		return errors.Join(err, f.unsettle(ctx, name), os.Remove(at))
	}
	f.tell(ctx, name, at, kind)
	return nil
}

// tryOut mounts the stage once, so that what keeps it from being mounted is known before it has another name.
func (f found) tryOut(ctx context.Context) (kind string, err error) {
	m, err := f.awake(ctx, access{})
	if err != nil {
		return "", err
	}
	is, err := fileSystem(m.Name())
	return is.name, errors.Join(err, m.close(), f.sleep(ctx))
}

// sleep deactivates a volume: ErrBusy if that is not possible.
func (f found) sleep(ctx context.Context) error {
	return change(context.WithoutCancel(ctx), "lvchange", "-y", "--activate", "n", "--select", byUUID(f), f.VG)
}

// become renames the stage, by which it is none any more, and mounts it.
func (f found) become(ctx context.Context, name, at string) error {
	if err := retag(ctx, f.lv, append(f.others(), stageNameTag+f.Name), "--setactivationskip", "n"); err != nil {
		return err
	}
	fault.Point("before settling")
	if err := change(ctx, "lvrename", f.VG, f.Name, name); err != nil {
		return err
	}
	fault.Point("after settling")
	m, err := f.awake(ctx, access{})
	if err != nil {
		return err
	}
	if err := errors.Join(m.put(at), m.close()); err != nil {
		return err
	}
	return change(ctx, "lvchange", "-y", "--deltag="+stageNameTag+f.Name, "--select", byUUID(f), f.VG)
}

// unsettle makes a stage again of one that could not be mounted.
func (f found) unsettle(ctx context.Context, name string) error {
	v, err := volumeOf(ctx, f.UUID)
	if err != nil {
		return err
	}
	if v.Name == name {
		err = errors.Join(f.sleep(ctx), change(ctx, "lvrename", f.VG, name, f.Name))
	}
	if err != nil {
		return err
	}
	return change(ctx, "lvchange", "-y", "--setactivationskip", "y", "--addtag="+stageNameTag+f.Name, "--select", byUUID(f), f.VG)
}

// tell says what LVM does not see to.
func (f found) tell(ctx context.Context, name, at, kind string) {
	options := "nofail"
	if kind == "xfs" {
		options += ",nouuid"
	}
	line := fmt.Sprintf("/dev/%s/%s %s %s %s 0 2", f.VG, name, fstabEscape.Replace(at), kind, options)
	zerolog.Ctx(ctx).Warn().Str("fstab", line).
		Msg("a new volume is mounted until the next boot: for longer, put that line into /etc/fstab; it has the file system UUID of the original, so mount that by /dev/VG/LV too")
}

// fstabEscape writes a path as fstab(5) has it.
var fstabEscape = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
