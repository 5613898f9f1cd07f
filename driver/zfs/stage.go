package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// StageOf implements driver.Stager: beside the dataset, since only there each can be called by the other's name.
func (d *Driver) StageOf(s driver.Snapshot, name string) (driver.Dataset, error) {
	return stageAt(s, s.Dataset.Name, name, d.realm)
}

// longestSet is how long what follows the name of a dataset in that of a snapshot can get.
const longestSet = 1 + len("volsnap-") + 32 + len("-20261121T020000.123Z")

func stageAt(s driver.Snapshot, of, name string, r realm) (driver.Dataset, error) {
	err := r.could(s)
	if err == nil {
		err = driver.CheckStage(name)
	}
	out := driver.Dataset{Kind: Kind, Name: stageOf(of, name)}
	if err == nil && len(out.Name)+longestSet > maxName {
		err = fmt.Errorf("its name would be too long for ZFS, which has %d bytes for that of a snapshot", maxName)
	}
	if err != nil {
		return driver.Dataset{}, fmt.Errorf("stage of %q: %w", s.Name, err)
	}
	return out, nil
}

// unused are the properties of a stage, whatever it would inherit.
var unused = []setting{
	{canMount, noAuto},
	{mountPoint, unsetPoint},
	{"readonly", "off"},
	{"setuid", "off"},
	{"exec", "off"},
	{"devices", "off"},
	{"sharenfs", "off"},
	{"sharesmb", "off"},
	{autoSnapshot, "false"}, // zfs-auto-snapshot(8) and its like would keep it from being destroyed
}

const (
	canMount     = "canmount"
	mountPoint   = "mountpoint"
	noAuto       = "noauto"
	unsetPoint   = "none"
	autoSnapshot = "com.sun:auto-snapshot"
)

// Stage implements driver.Stager.
func (d *Driver) Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error) {
	to, err := d.StageOf(s, name)
	if err != nil {
		return driver.Stage{}, err
	}
	return d.stage(ctx, s, to, s.Dataset.Name)
}

// stage clones a snapshot as the stage of a dataset.
func (k *kept) stage(ctx context.Context, s driver.Snapshot, to driver.Dataset, of string) (driver.Stage, error) {
	out := driver.Stage{Dataset: to}
	err := k.check(ctx, s)
	if err == nil {
		argv := []string{"zfs", "clone", "-o", sideProp + "=" + sideMark(to.Name, of)}
		for _, p := range unused {
			argv = append(argv, "-o", p.name+"="+p.value)
		}
		fault.Point("before stage")
		_, err = run(ctx, append(argv, s.Name, to.Name)...)
		fault.Point("after stage")
	}
	if err == nil {
		err = k.check(ctx, s) // it may have been replaced just before it was cloned
	}
	if err == nil {
		out.GUID, err = identify(ctx, to)
	}
	if err != nil {
		return driver.Stage{}, fmt.Errorf("stage %s as %s: %w", s.Name, to, err)
	}
	return out, nil
}

// Identity implements driver.Stager.
func (d *Driver) Identity(ctx context.Context, ds driver.Dataset) (string, error) {
	guid, err := identify(ctx, ds)
	if err != nil {
		return "", fmt.Errorf("identify %s: %w", ds, err)
	}
	return guid, nil
}

func identify(ctx context.Context, ds driver.Dataset) (string, error) {
	if err := errors.Join(ctx.Err(), checkDataset(ds), thisHost.awake(ds.Name)); err != nil {
		return "", err
	}
	all, err := describe(ctx, ds.Name)
	if err != nil {
		return "", err
	}
	if all[ds.Name] == nil {
		return "", driver.ErrNotFound
	}
	return all[ds.Name].guid, nil
}

// fileSys is a file system as this package looks at it before it does something with it.
type fileSys struct {
	name, guid, origin string
	side               string // its own volsnap:side, not an inherited one
	place              string // its own volsnap:place
	owed               string // its own volsnap:owed
	encryptedBy        string // the file system that its key is asked for; "" if it is not encrypted
}

// is reports whether volsnap made it to be at the side of another.
func (f *fileSys) is() bool {
	if f == nil {
		return false
	}
	_, is := sideOf(f.name, f.side)
	return is
}

// describe looks at file systems by name. One that does not exist, or is none, is left out.
func describe(ctx context.Context, names ...string) (map[string]*fileSys, error) {
	out := map[string]*fileSys{}
	if len(names) == 0 {
		return out, nil
	}
	seen := map[string]bool{}
	add := func(f []string) error {
		if len(f) != 4 {
			return fmt.Errorf("zfs get: what is %q?", f)
		}
		if seen[f[0]+"\t"+f[1]] {
			return fmt.Errorf("zfs get: %s of %q is listed twice; does a user property of it have a line break?", f[1], f[0])
		}
		seen[f[0]+"\t"+f[1]] = true
		if out[f[0]] == nil {
			out[f[0]] = &fileSys{name: f[0]}
		}
		out[f[0]].set(f[1], f[2], f[3])
		return nil
	}
	argv := []string{
		"zfs", "get", "-Hp", "-d", "0", "-t", "filesystem", "-o", "name,property,value,source",
		strings.Join([]string{"guid", "origin", "encryptionroot", sideProp, placeProp, owedProp}, ","),
	}
	if err := list(ctx, true, add, append(argv, names...)...); err != nil {
		return nil, err
	}
	for name, fs := range out {
		if !validGUID(fs.guid) {
			return nil, fmt.Errorf("zfs get: the GUID of %q is %q", name, fs.guid)
		}
	}
	return out, nil
}

func (f *fileSys) set(property, is, source string) {
	switch {
	case property == "guid":
		f.guid = is
	case property == "origin":
		f.origin = value(is)
	case property == "encryptionroot":
		f.encryptedBy = value(is)
	case property == sideProp && source == local:
		f.side = is
	case property == placeProp && source == local:
		f.place = is
	case property == owedProp && source == local:
		f.owed = is
	}
}

// stageNow is the stage as it is there: ErrForeign if it is none, or another one; nil if nothing is there.
func stageNow(ctx context.Context, st driver.Stage) (*fileSys, error) {
	_, base := split(st.Dataset.Name)
	if checkDataset(st.Dataset) != nil || !strings.HasPrefix(base, stagePrefix) || !sidePattern.MatchString(base) {
		return nil, fmt.Errorf("%s is no stage: %w", st.Dataset, driver.ErrForeign)
	}
	if err := errors.Join(ctx.Err(), thisHost.awake(st.Dataset.Name)); err != nil {
		return nil, err
	}
	all, err := describe(ctx, st.Dataset.Name)
	if err != nil {
		return nil, err
	}
	fs := all[st.Dataset.Name]
	switch {
	case fs == nil:
		return nil, nil
	case !fs.is():
		return nil, fmt.Errorf("%s was not made by volsnap: %w", fs.name, driver.ErrForeign)
	case fs.guid != st.GUID:
		return nil, fmt.Errorf("%s is %s, not %q: %w", fs.name, fs.guid, st.GUID, driver.ErrForeign)
	}
	return fs, nil
}

// Attach implements driver.Stager.
func (d *Driver) Attach(ctx context.Context, st driver.Stage, dir string) (string, error) {
	fs, err := stageNow(ctx, st)
	if err == nil && fs == nil {
		err = driver.ErrNotFound
	}
	if err == nil {
		err = empty(dir)
	}
	if err == nil { // noatime: to have been looked at is no change
		_, err = run(ctx, "mount", "-i", "-c", "-n", "-t", "zfs", "-o", "rw,nosuid,nodev,noexec,noatime", "--", st.Dataset.Name, dir)
		if err != nil {
			err = withKey(ctx, st.Dataset.Name, err)
		}
	}
	if err != nil {
		return "", fmt.Errorf("attach %s at %s: %w", st.Dataset, dir, err)
	}
	return dir, nil
}

// Detach implements driver.Stager.
func (d *Driver) Detach(_ context.Context, st driver.Stage, dir string) error {
	at, err := mountsOf(st.Dataset.Name)
	if err != nil {
		return fmt.Errorf("detach %s: %w", st.Dataset, err)
	}
	for _, m := range at {
		if m.Point == dir && m.own {
			return unmount(dir)
		}
	}
	return nil
}

// Discard implements driver.Stager. One that has snapshots, of whomsoever, becomes a line: it is there for them alone, and goes with
// the last of them. They may have been taken while it was in place, or lie in it because of what was in place before.
func (d *Driver) Discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	if err := d.discard(ctx, st, since); err != nil {
		return fmt.Errorf("discard %s: %w", st.Dataset, err)
	}
	return nil
}

func (d *Driver) discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	fs, err := stageNow(ctx, st)
	if err != nil || fs == nil {
		return err
	}
	if err := d.unused(fs.name); err != nil {
		return err
	}
	snapshots, others, err := below(ctx, fs.name)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("there are file systems below it: %q: %w", others, driver.ErrBusy)
	}
	if since != nil {
		if err := unchanged(ctx, fs.name, *since); err != nil {
			return err
		}
	}
	if len(snapshots) == 0 {
		return d.destroyStage(ctx, fs.name)
	}
	return d.line(ctx, fs)
}

// line lets a stage be there for its snapshots alone.
func (d *Driver) line(ctx context.Context, fs *fileSys) error {
	of, _ := sideOf(fs.name, fs.side)
	to := lineOf(of, fs.guid)
	if _, err := run(ctx, "zfs", "set", "readonly=on", fs.name); err != nil {
		return err
	}
	fault.Point("before line")
	_, err := run(ctx, "zfs", "rename", "-u", fs.name, to)
	fault.Point("after line")
	return err
}

// busyFor is how long the kernel may hold a file system whose last mount has just gone.
const busyFor = 5 * time.Second

// destroyStage destroys an empty stage, and has some patience.
func (d *Driver) destroyStage(ctx context.Context, name string) error {
	for end := time.Now().Add(busyFor); ; {
		err := destroyFileSystem(ctx, name)
		if !errors.Is(err, driver.ErrBusy) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unused is ErrBusy if a file system is mounted anywhere.
func (d *Driver) unused(name string) error {
	at, err := mountsOf(name)
	if err == nil && len(at) > 0 {
		err = fmt.Errorf("%s is mounted at %q: %w", name, at[0].Point, driver.ErrBusy)
	}
	return err
}

// below are the snapshots of a file system, and what else is in it.
func below(ctx context.Context, name string) (snapshots, others []string, err error) {
	err = list(ctx, true, func(f []string) error {
		switch {
		case len(f) != 2:
			return fmt.Errorf("zfs list: what is %q?", f)
		case f[0] == name:
		case f[1] == "snapshot":
			snapshots = append(snapshots, f[0])
		default:
			others = append(others, f[0])
		}
		return nil
	}, "zfs", "list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot", "-o", "name,type", name)
	return snapshots, others, err
}

// unchanged is ErrChanged if a file system was written to after a snapshot of it was made: as ZFS counts it, by blocks.
func unchanged(ctx context.Context, name string, since driver.Snapshot) error {
	if liesIn(since) != name {
		return fmt.Errorf("%s is no snapshot of it: %w", since.Name, driver.ErrChanged)
	}
	_, snap, _ := strings.Cut(since.Name, "@")
	written, guid := "", ""
	err := list(ctx, false, func(f []string) error {
		if len(f) != 3 {
			return fmt.Errorf("zfs get: what is %q?", f)
		}
		if f[0] == since.Name && f[1] == "guid" {
			guid = f[2]
		} else if f[0] == name && f[1] != "guid" {
			written = f[2]
		}
		return nil
	}, "zfs", "get", "-Hp", "-o", "name,property,value", "guid,written@"+snap, name, since.Name)
	switch {
	case err != nil:
		return err
	case guid != since.GUID:
		return fmt.Errorf("%s is another snapshot by now (%s): %w", since.Name, guid, driver.ErrChanged)
	case written != "0":
		return fmt.Errorf("%s bytes were written to it since %s was made: %w", written, since.Name, driver.ErrChanged)
	}
	return nil
}

// Settle implements driver.Stager.
func (d *Driver) Settle(ctx context.Context, st driver.Stage, name, at string) (driver.Dataset, error) {
	parent, _ := split(st.Dataset.Name)
	to := driver.Dataset{Kind: Kind, Name: parent + "/" + name}
	if err := d.settle(ctx, st, to, at); err != nil {
		return to, fmt.Errorf("settle %s as %s at %s: %w", st.Dataset, to, at, err)
	}
	return to, nil
}

func (d *Driver) settle(ctx context.Context, st driver.Stage, to driver.Dataset, at string) error {
	fs, err := stageNow(ctx, st)
	if err == nil && fs == nil {
		err = driver.ErrNotFound
	}
	if err != nil {
		return err
	}
	if _, base := split(to.Name); checkName(to.Name) != nil || base == "" || sidePattern.MatchString(base) || filepath.Dir(st.Dataset.Name) != filepath.Dir(to.Name) {
		return fmt.Errorf("%q is no name that it can have: %w", to.Name, driver.ErrNotSupported)
	}
	if !filepath.IsAbs(at) || filepath.Clean(at) != at || at == "/" {
		return fmt.Errorf("no clean absolute path: %w", driver.ErrNotSupported)
	}
	if _, err := os.Lstat(at); err == nil {
		return driver.ErrExists
	}
	if err := d.unused(fs.name); err != nil {
		return err
	}
	if err := d.dress(ctx, fs, at); err != nil {
		return err
	}
	fault.Point("before settling")
	_, err = run(ctx, "zfs", "rename", "-u", fs.name, to.Name)
	fault.Point("after settling")
	if err != nil {
		return err
	}
	return d.settled(context.WithoutCancel(ctx), st, to.Name)
}

// dress gives a stage the properties that it is to have in its place, but for being mounted.
func (d *Driver) dress(ctx context.Context, fs *fileSys, at string) error {
	of, _ := sideOf(fs.name, fs.side)
	want := settings{}
	origin, _, _ := strings.Cut(fs.origin, "@")
	if origin == of || couldBeBeside(origin, of) { // and not a replica
		theirs, err := settingsOf(ctx, of)
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
		want = theirs
	}
	want = want.without(limits...)
	want[mountPoint], want[canMount] = at, noAuto
	return want.apply(ctx, fs.name)
}

// settled mounts what has its name.
func (d *Driver) settled(ctx context.Context, st driver.Stage, name string) error {
	_, err := run(ctx, "zfs", "set", canMount+"=on", name)
	if err == nil {
		err = ensureMounted(ctx, name)
	}
	if err != nil {
		_, setErr := run(ctx, "zfs", "set", canMount+"="+noAuto, mountPoint+"="+unsetPoint, name)
		_, backErr := run(ctx, "zfs", "rename", "-u", name, st.Dataset.Name)
		return errors.Join(err, setErr, backErr)
	}
	_, err = run(ctx, "zfs", "inherit", sideProp, name)
	return err
}
