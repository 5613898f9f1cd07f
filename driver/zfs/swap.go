package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Swap implements driver.Stager, in steps, since ZFS has no exchange of names: the settings of the place are noted in a property of
// the dataset that is to come; both are unmounted; three renames; what was noted is applied, and the new one mounted; and `zfs promote`,
// so that the snapshots that it came out of lie in it. Each step is found again by the GUIDs, and by what is noted still. ZFS promotes
// nothing while one of these snapshots is mounted or sent: see gather.
func (d *Driver) Swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	if err := d.swap(ctx, ds, stage, guid); err != nil {
		return fmt.Errorf("swap %s and %s: %w", ds, stage, err)
	}
	return nil
}

// The spots of a swap.
const (
	inPlace = iota
	aside
	between
	spots
)

func (d *Driver) swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	_, base := split(stage.Name)
	if checkDataset(stage) != nil || !strings.HasPrefix(base, stagePrefix) || !sidePattern.MatchString(base) {
		return fmt.Errorf("%s is no stage: %w", stage, driver.ErrForeign)
	}
	if err := errors.Join(ctx.Err(), checkDataset(ds), d.host.awake(ds.Name)); err != nil {
		return err
	}
	s := &swapping{Driver: d, names: [spots]string{ds.Name, stage.Name, thirdOf(stage.Name)}}
	if err := s.look(ctx); err != nil {
		return err
	}
	renames, err := moves(s.guids(), guid)
	if err != nil {
		return err
	}
	begins := len(renames) == spots
	if begins {
		err = s.begin(ctx)
	}
	if err != nil {
		return err
	}
	after := context.WithoutCancel(ctx) // half of it is of no use to anybody
	err = s.release(after, len(renames) > 0)
	if err == nil && begins {
		// Not mounted by a boot either, until all of it is done. While it is mounted ZFS would not let that be taken back.
		_, err = run(after, "zfs", "set", canMount+"="+noAuto, ds.Name)
	}
	if err != nil {
		if begins {
			err = errors.Join(err, s.finish(after, s.at[inPlace].guid))
		}
		return err
	}
	for i, step := range renames {
		fault.Point("before swap")
		_, err := run(after, "zfs", "rename", "-u", s.names[step[0]], s.names[step[1]])
		fault.Point("after swap")
		if err != nil && begins && i == 0 {
			err = errors.Join(err, s.finish(after, s.at[inPlace].guid))
		}
		if err != nil {
			return err
		}
	}
	return s.finish(after, guid)
}

// swapping is one Swap under way.
type swapping struct {
	*Driver
	names [spots]string
	at    [spots]*fileSys // nil: there is none
}

// look finds what is at each spot. What is at one of the names that are volsnap's and is not volsnap's is ErrForeign.
func (s *swapping) look(ctx context.Context) error {
	all, err := describe(ctx, s.names[:]...)
	if err != nil {
		return err
	}
	for i, name := range s.names {
		s.at[i] = all[name]
		if of, is := "", s.at[i].is(); i != inPlace && s.at[i] != nil {
			if is {
				of, _ = sideOf(name, s.at[i].side)
			}
			if of != s.names[inPlace] {
				return fmt.Errorf("%s was not made by volsnap for %s: %w", name, s.names[inPlace], driver.ErrForeign)
			}
		}
	}
	return nil
}

func (s *swapping) guids() (out [spots]string) {
	for i, fs := range s.at {
		if fs != nil {
			out[i] = fs.guid
		}
	}
	return out
}

// moves are the renames after which the dataset with the GUID want is in its place, and the other one aside.
func moves(at [spots]string, want string) ([][2]int, error) {
	there := 0
	for _, guid := range at {
		if guid != "" {
			there++
		}
	}
	where := slices.Index(at[:], want)
	switch {
	case want == "" || where < 0 || there > 2:
		return nil, fmt.Errorf("they are %q, and none is %q, or one is too many: %w", at, want, driver.ErrForeign)
	case where == inPlace && at[between] == "":
		return nil, nil
	case where == inPlace:
		return [][2]int{{between, aside}}, nil
	case there == 1:
		return [][2]int{{where, inPlace}}, nil
	case where == aside && at[inPlace] != "":
		return [][2]int{{inPlace, between}, {aside, inPlace}, {between, aside}}, nil
	case where == aside:
		return [][2]int{{aside, inPlace}, {between, aside}}, nil
	case at[inPlace] != "":
		return [][2]int{{inPlace, aside}, {between, inPlace}}, nil
	}
	return [][2]int{{between, inPlace}}, nil
}

// begin notes what is to be as before, and marks both as ours.
func (s *swapping) begin(ctx context.Context) error {
	place, stage := s.names[inPlace], s.names[aside]
	if err := s.CheckSwap(ctx, driver.Dataset{Kind: Kind, Name: place}); err != nil {
		return err
	}
	if err := s.unused(stage); err != nil {
		return err
	}
	if _, err := pointOf(place); err != nil {
		return err
	}
	if s.at[inPlace].place == "" && s.at[aside].place == "" { // else a Swap was killed, and what is there now is not as it was
		if err := s.note(ctx); err != nil {
			return err
		}
	}
	_, err := run(ctx, "zfs", "set", sideProp+"="+sideMark(stage, place), place)
	fault.Point("after mark of a swap")
	if err != nil {
		return errors.Join(err, s.finish(context.WithoutCancel(ctx), s.at[inPlace].guid))
	}
	return nil
}

// note writes down what is to be as before.
func (s *swapping) note(ctx context.Context) error {
	place, owed := s.names[inPlace], s.at[inPlace].owed
	w := where{Version: placeVersion, Of: s.at[inPlace].guid}
	var err error
	if w.Mount, err = pointOf(place); err != nil {
		return err
	}
	if w.Settings, err = settingsOf(ctx, place); err != nil {
		return err
	}
	w.Settings = w.Settings.withOwed(owed)
	text, err := w.encode()
	if err != nil {
		return err
	}
	fault.Point("before note of a swap")
	_, err = run(ctx, "zfs", "set", placeProp+"="+text, s.names[aside])
	fault.Point("after note of a swap")
	return err
}

// CheckSwap implements driver.SwapChecker.
func (d *Driver) CheckSwap(ctx context.Context, ds driver.Dataset) error {
	if err := errors.Join(ctx.Err(), checkDataset(ds), d.host.awake(ds.Name)); err != nil {
		return err
	}
	if !strings.Contains(ds.Name, "/") {
		return fmt.Errorf("%s is the file system of a pool itself, which ZFS does not rename: %w", ds, driver.ErrNotSupported)
	}
	_, others, err := below(ctx, ds.Name)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("%s has other file systems below it, which would go with it (%s): %w", ds, listFew(others), driver.ErrNotSupported)
	}
	all, err := describe(ctx, ds.Name)
	switch {
	case err != nil:
		return err
	case all[ds.Name] == nil:
		return fmt.Errorf("%s: %w", ds, driver.ErrNotFound)
	case all[ds.Name].encryptedBy == ds.Name:
		return fmt.Errorf("%s has an encryption key of its own, which would have to be loaded anew in the midst of it: %w", ds, driver.ErrNotSupported)
	}
	_, err = settingsOf(ctx, ds.Name)
	return err
}

// release unmounts what is to be renamed. ErrBusy: somebody uses it, or has it in another mount namespace.
func (s *swapping) release(ctx context.Context, renames bool) error {
	if !renames {
		return nil
	}
	for i, fs := range s.at {
		if fs == nil {
			continue
		}
		if err := s.unmount(ctx, s.names[i]); err != nil {
			return err
		}
	}
	return nil
}

// namespacesFor is how long a mount of a container that has just ended may stay.
const namespacesFor = 2 * time.Second

func (s *swapping) unmount(ctx context.Context, name string) error {
	for {
		at, err := ownMounts(name)
		if err != nil {
			return err
		}
		if len(at) == 0 {
			break
		}
		// What is shared is no more, with its mount (zfs-unmount(8)); what fstab(5) has mounted is not known to ZFS.
		_, err = run(ctx, "zfs", "unmount", name)
		if err != nil && !errors.Is(err, driver.ErrBusy) {
			err = unmount(at[len(at)-1].Point)
		}
		if err != nil {
			return err
		}
	}
	for end := time.Now().Add(namespacesFor); ; time.Sleep(50 * time.Millisecond) {
		left, err := mountsOf(name)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is mounted at %q of another mount namespace, as of a container: %w", name, left[0].Point, driver.ErrBusy)
		}
	}
}

// finish lets the dataset that is in its place be all that the other one was there. What is not noted any more is done.
func (s *swapping) finish(ctx context.Context, guid string) error {
	if err := s.look(ctx); err != nil {
		return err
	}
	in, out := s.at[inPlace], s.at[aside]
	if in == nil || in.guid != guid {
		return fmt.Errorf("%s is not %s, as it was a moment ago: %w", s.names[inPlace], guid, driver.ErrForeign)
	}
	noted := in
	if in.place == "" && out != nil && out.place != "" {
		noted = out
	}
	if noted.place == "" {
		patientlyGather(ctx, in)
		return nil
	}
	w, err := parsePlace(noted.place)
	if err != nil {
		return err
	}
	if out != nil {
		if err := s.dim(ctx, out.name, w); err != nil {
			return err
		}
	}
	if err := w.apply(ctx, in); err != nil {
		return err
	}
	if out != nil && out.guid == w.Of {
		delegate(ctx, in.name, out.name)
	}
	if in.side != "" {
		if _, err := run(ctx, "zfs", "inherit", sideProp, in.name); err != nil {
			return err
		}
	}
	fault.Point("before end of a swap")
	_, err = run(ctx, "zfs", "inherit", placeProp, noted.name)
	return err
}

// dim lets what is aside be seen and used by nobody, and keep no room that the other one is to have.
func (s *swapping) dim(ctx context.Context, out string, w where) error {
	argv := []string{"zfs", "set"}
	for _, prop := range []string{"reservation", "refreservation"} { // there is room for one
		if _, has := w.Settings[prop]; has {
			argv = append(argv, prop+"=none")
		}
	}
	for _, p := range unused {
		argv = append(argv, p.name+"="+p.value)
	}
	_, err := run(ctx, append(argv, out)...)
	return err
}

// apply gives a file system the place of another.
func (w where) apply(ctx context.Context, in *fileSys) error {
	fault.Point("before settings")
	if err := w.Settings.apply(ctx, in.name); err != nil {
		return err
	}
	fault.Point("after settings")
	if w.Mount != nil {
		if err := w.Mount.mount(ctx, in.name); err != nil {
			return err
		}
	}
	patientlyGather(ctx, in)
	return w.Settings.applyRoom(ctx, in) // by now all that lies in it counts
}
